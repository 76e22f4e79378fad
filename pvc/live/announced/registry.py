"""Which engines there are: announcing one, finding them, and clearing up after those that died."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.announced.folder import MANIFEST, SOCKET, NotPrivateError, check_name
from pvc.live.protocol.manifest import Manifest, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.live.announced.folder import EngineFolder
    from pvc.live.protocol.process import ProcessIdentity


class EngineNameTakenError(PvcError):
    """Another process has an engine of this name.

    Attributes:
        name: the name.
        process: whose it is, in words.
    """

    def __init__(self, name: str, process: str) -> None:
        self.name = name
        self.process = process
        super().__init__(f"There is an engine called {name} already: {process} has it.")


class NoEngineError(PvcError):
    """No such engine runs.

    Attributes:
        name: what was asked for; None if any would have done.
        known: names of those that run.
    """

    def __init__(self, name: str | None, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        if name is None:
            super().__init__("No engine runs.")
        else:
            others = f"; there are {', '.join(known)}" if known else ", and no other either"
            super().__init__(f"No engine called {name} runs{others}.")


class SeveralEnginesError(PvcError):
    """More than one engine could be meant.

    Attributes:
        known: their names.
    """

    def __init__(self, known: tuple[str, ...]) -> None:
        self.known = known
        super().__init__(f"Several engines run, and none was named: {', '.join(known)}.")


class EngineEndedError(PvcError):
    """The process of an engine has ended.

    Attributes:
        name: the engine.
        process: which process it was.
    """

    def __init__(self, name: str, process: ProcessIdentity) -> None:
        self.name = name
        self.process = process
        super().__init__(f"The engine {name} was {process}, which has ended.")


@dataclass(frozen=True, slots=True)
class Listed:
    """An engine as it is found.

    Attributes:
        name: its name.
        manifest: what it tells about itself; None if that cannot be read.
        problem: why it cannot be used, in a sentence; None if it can.
    """

    name: str
    manifest: Manifest | None
    problem: str | None


def load(folder: EngineFolder, name: str) -> Manifest:
    """The manifest of an engine.

    Raises:
        EngineNameError, NoEngineError: there is no such engine.
        NotPrivateError, ManifestError: its manifest cannot be trusted, or read.
        EngineEndedError: its process is gone.
    """
    check_name(name)
    try:
        folder.check()
        manifest = Manifest.parse(folder.read(name), str(folder.path / f"{name}{MANIFEST}"))
    except FileNotFoundError:
        raise NoEngineError(name, running(folder)) from None
    process = manifest.process
    if process.has_ended() or (not process.is_near and folder.is_deaf(name)):
        raise EngineEndedError(name, manifest.process)
    return manifest


def listed(folder: EngineFolder) -> tuple[Listed, ...]:
    """All engines that are announced, the dead and the broken among them, sorted by name."""
    return tuple(_listed(folder, name) for name in folder.names())


def running(folder: EngineFolder) -> tuple[str, ...]:
    """Names of the engines that can be used."""
    return tuple(one.name for one in listed(folder) if one.problem is None)


def _listed(folder: EngineFolder, name: str) -> Listed:
    try:
        return Listed(name, load(folder, name), None)
    except (ManifestError, NotPrivateError, NoEngineError, EngineEndedError) as error:
        return Listed(name, None, str(error))


def sweep(folder: EngineFolder) -> tuple[str, ...]:
    """Remove what dead processes left; the names of their engines.

    Raises:
        LockedError: another process does so for a long time.
    """
    try:
        folder.check()
    except FileNotFoundError:
        return ()
    with folder.lock():
        return tuple(_sweep(folder))


def check_free(folder: EngineFolder, name: str) -> None:
    """Make sure that a name can be had, before work is done for it.

    Raises:
        EngineNameTakenError: a running process has it.
    """
    with announcing(folder, name):
        pass


@contextlib.contextmanager
def announcing(folder: EngineFolder, name: str) -> Iterator[None]:
    """While the block runs, a name is free and nobody else takes it.

    Raises:
        EngineNameTakenError: a running process has it.
    """
    folder.create()
    with folder.lock():
        list(_sweep(folder))
        if (folder.path / f"{name}{MANIFEST}").exists():
            one = _listed(folder, name)
            process = one.problem if one.manifest is None else str(one.manifest.process)
            raise EngineNameTakenError(name, str(process))
        try:
            yield
        except BaseException:
            folder.remove(name)
            raise


def _sweep(folder: EngineFolder) -> Iterator[str]:
    names = folder.names()
    for name in names:
        try:
            load(folder, name)
        except EngineEndedError:
            folder.remove(name)
            yield name
        except (ManifestError, NotPrivateError, NoEngineError):
            continue
    for path in folder.path.glob(f"*{SOCKET}"):
        if path.name.removesuffix(SOCKET) not in names:
            path.unlink(missing_ok=True)
