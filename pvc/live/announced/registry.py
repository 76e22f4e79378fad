"""The engines of a folder: one is announced, all are found, and those that died are removed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.announced.folder import MANIFEST, SOCKET, NotPrivateError, check_name
from pvc.live.protocol.manifest import EngineVersionError, Manifest, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.live.announced.folder import EngineFolder
    from pvc.live.protocol.engine_state import EngineState
    from pvc.live.protocol.process import ProcessIdentity


class EngineNameTakenError(PvcError):
    """Another process has an engine of this name.

    Attributes:
        name: the name.
        process: whose it is, for people.
    """

    def __init__(self, name: str, process: str) -> None:
        self.name = name
        self.process = process
        super().__init__(f"There is an engine called {name} already: {process} has it.")


class NoEngineError(PvcError):
    """No such engine runs.

    Attributes:
        name: the name that was looked for; None stands for any.
        known: names of those that run.
    """

    def __init__(self, name: str | None, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        if name is None:
            super().__init__("No engine runs.")
        else:
            others = f"; running: {', '.join(known)}" if known else ", and no other either"
            super().__init__(f"No engine called {name} runs{others}.")


class SeveralEnginesError(PvcError):
    """Several engines run, and none was named.

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
class AnnouncedEngine:
    """An engine that is announced, whether it can be used or not.

    Attributes:
        name: its name.
        manifest: its manifest; None if that cannot be read, or its process has ended.
        problem: why it cannot be used, in a sentence; None if it can.
        state: its state; None if it was not asked, or did not answer.
    """

    name: str
    manifest: Manifest | None
    problem: str | None
    state: EngineState | None = None


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
    except EngineVersionError as error:
        if error.process is not None and error.process.has_ended():
            raise EngineEndedError(name, error.process) from None
        raise
    process = manifest.process
    if process.has_ended() or (not process.is_near and folder.is_deaf(name)):
        raise EngineEndedError(name, manifest.process)
    return manifest


def listed(folder: EngineFolder) -> tuple[AnnouncedEngine, ...]:
    """All engines that are announced, the dead and the broken among them, sorted by name."""
    return tuple(_listed(folder, name) for name in folder.names())


def running(folder: EngineFolder) -> tuple[str, ...]:
    """Names of the engines that can be used."""
    return tuple(one.name for one in listed(folder) if one.problem is None)


def _listed(folder: EngineFolder, name: str) -> AnnouncedEngine:
    try:
        return AnnouncedEngine(name, load(folder, name), None)
    except (ManifestError, NotPrivateError, NoEngineError, EngineEndedError) as error:
        return AnnouncedEngine(name, None, str(error))


def sweep(folder: EngineFolder) -> tuple[str, ...]:
    """Remove the engines of processes that have ended; their names.

    Raises:
        LockedError: another process has been doing so for too long.
    """
    try:
        folder.check()
    except FileNotFoundError:
        return ()
    with folder.lock():
        return tuple(_sweep(folder))


def check_free(folder: EngineFolder, name: str) -> None:
    """Make sure that a name is free, before work is done for it.

    Raises:
        EngineNameTakenError: a running process has it.
    """
    with announcing(folder, name):
        pass


@contextlib.contextmanager
def announcing(folder: EngineFolder, name: str) -> Iterator[None]:
    """Hold a name, so that nobody else takes it while the block runs.

    Raises:
        EngineNameTakenError: a running process has it.
    """
    folder.create()
    with folder.lock():
        list(_sweep(folder))
        if (folder.path / f"{name}{MANIFEST}").exists():
            one = _listed(folder, name)
            process = "another process" if one.manifest is None else str(one.manifest.process)
            raise EngineNameTakenError(name, process)
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
