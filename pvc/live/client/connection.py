"""A client's connection to an engine."""

from __future__ import annotations

import contextlib
import socket
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from pvc.errors import PvcError
from pvc.live.announced import registry
from pvc.live.announced.folder import EngineFolder, FolderError
from pvc.live.announced.registry import NoEngineError, SeveralEnginesError
from pvc.live.protocol import applied_tensors, wire
from pvc.live.protocol.engine_state import EngineState
from pvc.live.protocol.wire import HungUpError
from pvc_store.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pvc.live.announced.registry import AnnouncedEngine
    from pvc.live.memory.host import Memory
    from pvc.live.protocol.manifest import Manifest, Storage
    from pvc.live.protocol.update import WeightUpdate
    from pvc.strict_json import Fields
    from pvc_store.tree import Tensor

OCCUPIED = frozenset({"BusyError", "HeldError"})
"""Classes of an engine's refusals that go away when other clients have finished."""
PAUSE_SECONDS = 0.2
ANSWER_SECONDS = 30.0
CHANGE_SECONDS = 600.0


class RefusedError(PvcError):
    """The engine refused a request; nothing was changed unless the reason says so.

    Attributes:
        engine: its name.
        kind: class of the error that it raised.
        reason: the engine's message, a sentence.
    """

    def __init__(self, engine: str, kind: str, reason: str) -> None:
        self.engine = engine
        self.kind = kind
        self.reason = reason
        super().__init__(f"The engine {engine} refused: {reason}")


class UnreachableError(PvcError):
    """An engine that is announced does not answer.

    Attributes:
        engine: its name.
        reason: what happened.
    """

    def __init__(self, engine: str, reason: str) -> None:
        self.engine = engine
        self.reason = reason
        super().__init__(f"The engine {engine} does not answer: {reason}.")


def engines(folder: Path | None = None) -> tuple[AnnouncedEngine, ...]:
    """All engines of this user, those with a problem among them; dead ones are cleared away.

    Args:
        folder: where engines are announced; None is the user's own.

    Raises:
        NotPrivateError: the folder cannot be trusted.
    """
    place = EngineFolder(folder)
    with contextlib.suppress(LockedError, FolderError):  # others do; or there is no room to lock
        registry.sweep(place)
    return registry.listed(place)


def connect(
    name: str | None = None, folder: Path | None = None, patience: float = ANSWER_SECONDS
) -> Connection:
    """Connect to an engine.

    Args:
        name: its name; None stands for the only one that runs.
        folder: where engines are announced; None is the user's own.
        patience: seconds to wait for an answer.

    Raises:
        NoEngineError, SeveralEnginesError, EngineNameError: there is no one such engine.
        EngineEndedError: its process is gone.
        NotPrivateError, ManifestError, PeerError: it cannot be trusted.
        UnreachableError: it does not answer.
    """
    place = EngineFolder(folder)
    return Connection(place, registry.load(place, name or _only(place)), patience)


def _only(folder: EngineFolder) -> str:
    known = registry.running(folder)
    if not known:
        raise NoEngineError(None, ())
    if len(known) > 1:
        raise SeveralEnginesError(known)
    return known[0]


def _nothing(_: str) -> None:
    """Nobody is told."""


class Connection:
    """A connection to one engine; use it as a context.

    Args:
        folder: where the engine is announced.
        manifest: the engine's.
        patience: seconds to wait for an answer.

    Raises:
        UnreachableError: the engine does not answer.
        PeerError: a process of another user answers.
    """

    def __init__(
        self, folder: EngineFolder, manifest: Manifest, patience: float = ANSWER_SECONDS
    ) -> None:
        self.manifest = manifest
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(patience)
            folder.check_socket(manifest.name)
            with folder.socket_address(manifest.name) as address:
                self._socket.connect(address)
            pid = wire.check_peer(self._socket)
        except OSError as error:
            self.close()
            raise UnreachableError(self.name, str(error.strerror or error)) from error
        except PvcError:
            self.close()
            raise
        if manifest.process.is_near and pid != manifest.process.pid:
            self.close()
            reason = f"process {pid} has its socket, and {manifest.process} its manifest"
            raise UnreachableError(self.name, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; what is prepared and not committed is dropped."""
        self._socket.close()

    @property
    def name(self) -> str:
        """The engine's name."""
        return self.manifest.name

    def state(self) -> EngineState:
        """The engine's state.

        Raises:
            UnreachableError: it does not answer.
        """
        return EngineState.parse(self._ask({"request": "state"}))

    def applied(self) -> dict[str, Tensor]:
        """What was last applied to the tensors that are not direct; see `applied_tensors`.

        Raises:
            UnreachableError: it does not answer.
        """
        if not self.manifest.indirect:
            return {}
        self._socket.settimeout(CHANGE_SECONDS)
        return applied_tensors.parse(self._ask({"request": "applied"}), self.manifest)

    @cached_property
    def memories(self) -> tuple[Memory, ...]:
        """Its storages, for reading.

        Raises:
            SealError: they are not what the manifest says.
        """
        _, fds = self._exchange({"request": "storages"})
        try:
            left = iter(fds)
            return tuple(self._open(storage, left) for storage in self.manifest.storages)
        finally:
            wire.close_all(fds)

    def prepare(self, change: WeightUpdate, stage: int) -> EngineState:
        """Let the engine check an update and its stage; nothing is changed.

        Raises:
            RefusedError: it does not fit.
        """
        self._socket.settimeout(CHANGE_SECONDS)
        return EngineState.parse(self._ask({"request": "prepare", **change.to_json()}, (stage,)))

    def commit(self) -> EngineState:
        """Let the engine write the prepared update.

        Raises:
            RefusedError: nothing was written; or what was written is not right, of the kind
                TornError, and the engine is paused.
        """
        self._socket.settimeout(CHANGE_SECONDS)
        return EngineState.parse(self._ask({"request": "commit"}))

    def await_turn(self, seconds: float, told: Callable[[str], None] = _nothing) -> None:
        """Wait until no other client holds the engine or is changing it.

        Not while others wait for this process: a holder's own command may be among them.

        Args:
            seconds: the longest time.
            told: is told once why it waits, a sentence.

        Raises:
            RefusedError: one still does.
        """
        self._ask_when_free({"request": "turn"}, seconds, told)

    def hold(
        self, command: str = "", seconds: float = 0.0, told: Callable[[str], None] = _nothing
    ) -> EngineState:
        """Keep all others from changing the engine, until the connection is closed.

        This process, and those that it starts, may change it all the same.

        Args:
            command: what runs meanwhile, for people.
            seconds: the longest time to wait for others.
            told: is told once why it waits, a sentence.

        Raises:
            RefusedError: another client holds it, or is changing it.
        """
        message = {"request": "hold", "command": command}
        return EngineState.parse(self._ask_when_free(message, seconds, told))

    def drop(self) -> EngineState:
        """Let the engine drop the prepared update."""
        return EngineState.parse(self._ask({"request": "drop"}))

    def _open(self, storage: Storage, fds: Any) -> Memory:
        from pvc.live.memory import sealed
        from pvc.live.memory.host import HostMemory

        if storage.device == "cpu":
            fd = next(fds, None)
            if fd is None:
                raise sealed.SealError(f"The engine {self.name}", "a storage of it is missing")
            what = f"The memory of the engine {self.name}"
            return HostMemory(sealed.map_sealed(fd, storage.nbytes, sealed.WEIGHTS_SEALS, what))
        from pvc.live.memory.cuda import open_memory

        return open_memory(storage)

    def _ask(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> Fields:
        fields, received = self._exchange(message, fds)
        wire.close_all(received)
        return fields

    def _ask_when_free(
        self, message: dict[str, Any], seconds: float, told: Callable[[str], None]
    ) -> Fields:
        """Ask again and again, as long as other clients are in the way."""
        until = time.monotonic() + seconds
        while True:
            try:
                return self._ask(message)
            except RefusedError as error:
                if error.kind not in OCCUPIED or time.monotonic() >= until:
                    raise
                told(error.reason)
                told = _nothing
            time.sleep(PAUSE_SECONDS)

    def _exchange(
        self, message: dict[str, Any], fds: tuple[int, ...] = ()
    ) -> tuple[Fields, list[int]]:
        try:
            with contextlib.suppress(HungUpError):  # it may have said why before it hung up
                wire.send(self._socket, message, fds)
            fields, received = wire.receive(self._socket, f"The engine {self.name}")
        except HungUpError:
            raise UnreachableError(self.name, self._why()) from None
        except OSError as error:
            raise UnreachableError(self.name, str(error.strerror or error)) from error
        if fields.has("error"):
            wire.close_all(received)
            kind, reason = fields.text("error"), fields.text("message")
            raise RefusedError(self.name, kind, reason)
        return fields, received

    def _why(self) -> str:
        process = self.manifest.process
        return f"{process} has ended" if process.has_ended() else f"{process} has hung up"
