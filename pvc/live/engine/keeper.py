"""The keeper of an engine's weights: it admits updates, one at a time, and knows the state.

At most one update is prepared; it belongs to the client that prepared it, and is dropped when the
client goes.  From the commit on it needs no client any more.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.engine.update_checks import MovedOnError
from pvc.live.engine.writer import NothingPreparedError, TornError
from pvc.live.protocol.engine_state import EngineState, OtherRepositoryError, Phase
from pvc.live.protocol.process import is_descendant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pvc.live.engine.framework import FrameworkHooks, Steps, WeightWriter
    from pvc.live.protocol.engine_state import ContentLabel
    from pvc.live.protocol.update import WeightUpdate
    from pvc_store.tree import Tensor

log = logging.getLogger("pvc.live")

COMMIT_WAIT_SECONDS = 120.0
BUSY_WAIT_SECONDS = 1.0
MAX_REASON = 1000


class BusyError(PvcError):
    """Another client's update is prepared.

    Attributes:
        holder: the client's process id, if that is known.
    """

    def __init__(self, holder: int | None) -> None:
        self.holder = holder
        super().__init__(f"{_who(holder or 0).capitalize()} is changing this engine's weights.")


class HeldError(PvcError):
    """A client keeps all others from changing the engine.

    Attributes:
        holder: which one, for people.
    """

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(f"{holder[:1].upper()}{holder[1:]} holds its weights as they are.")


@dataclass(frozen=True, slots=True)
class _Hold:
    """The hold of a client, which it and the processes that it started may write under.

    Attributes:
        client: its connection.
        pid: its process id.
        holder: who it is, for people.
    """

    client: int
    pid: int
    holder: str


class NoPauseError(PvcError):
    """Steps lasted too long to write between them.

    Attributes:
        seconds: how long the commit waited for them to end.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"The engine's steps did not end within {seconds:g} seconds; nothing was written."
        )


class Keeper:
    """Keeps one engine's weights.

    Args:
        writer: writes to them.
        gate: lets commits in between steps.
        hooks: functions of the framework.
        wait: seconds that a commit waits for steps to end.
    """

    def __init__(
        self,
        writer: WeightWriter,
        gate: Steps,
        hooks: FrameworkHooks,
        wait: float = COMMIT_WAIT_SECONDS,
    ) -> None:
        self._writer = writer
        self._gate = gate
        self._hooks = hooks
        self._wait = wait
        self._lock = threading.Lock()  # over the prepared update, and writing
        self._prepared: WeightUpdate | None = None
        self._holder: int | None = None  # a connection
        self._holder_pid: int | None = None
        self._held: _Hold | None = None
        self._origin: ContentLabel | None = None
        self._generation = 0
        self._clean = dict(hooks.counts())  # when pvc wrote last
        self._phase = Phase.STEADY
        self._torn: str | None = None
        self._paused = 0

    def state(self) -> EngineState:
        """The engine's state; answers at once, also while an update is written."""
        counts, clean, phase = self._hooks.counts(), self._clean, self._phase
        return EngineState(
            origin=self._origin,
            generation=self._generation,
            stamp=sum(counts.values()),
            touched=tuple(name for name, count in counts.items() if count != clean[name]),
            phase=phase,
            torn=self._torn if phase is Phase.TORN else None,
            holder=self._holder_pid,
            paused=self._paused,
            held=None if self._held is None else self._held.holder,
        )

    def check(self) -> None:
        """Make sure that the framework computes with the shared weights; raises its own errors."""
        self._hooks.check()

    def prepare(self, change: WeightUpdate, stage_fd: int, client: int, pid: int) -> None:
        """Check an update and keep it ready.

        Args:
            change: the update.
            stage_fd: its stage.
            client: the connection that it belongs to.
            pid: the client's process id.

        Raises:
            BusyError: another client's update is prepared.
            HeldError: another client holds the engine.
            OtherRepositoryError: another repository wrote to the engine last.
            MovedOnError, RejectedTensorError, SealError: it does not fit the engine.
        """
        with self._turn(client):
            if change.tensors:  # else it gets a label, and keeps its weights
                self._check_hold(client, pid)
            self._forget()
            self._holder, self._holder_pid = client, pid
            try:
                self._check(change, stage_fd)
            except BaseException:
                self._forget()
                raise
            self._prepared = change

    def hold(self, client: int, pid: int, command: str) -> None:
        """Keep all others from changing the engine, until the client goes.

        Args:
            client: the connection.
            pid: its process id; what that process starts may change the engine.
            command: what it runs, for people.

        Raises:
            BusyError: another client's update is prepared.
            HeldError: another client holds it.
        """
        with self._turn(client):
            self._check_hold(client, pid)
            if self._held is None:  # else it is its own, or one that it runs under
                command = f" ({command})" if command else ""
                self._held = _Hold(client, pid, f"{_who(pid)}{command}")

    def check_turn(self, client: int, pid: int) -> None:
        """Make sure that a client could prepare an update now.

        Raises:
            BusyError: another client's update is prepared.
            HeldError: another client holds the engine.
        """
        with self._turn(client):
            self._check_hold(client, pid)

    @contextlib.contextmanager
    def _turn(self, client: int) -> Iterator[None]:
        """Keep the lock while the block runs; raises `BusyError` if another client is at work."""
        if not self._lock.acquire(timeout=BUSY_WAIT_SECONDS):
            raise BusyError(self._holder_pid)
        try:
            if self._holder not in {None, client}:
                raise BusyError(self._holder_pid)
            yield
        finally:
            self._lock.release()

    def _check_hold(self, client: int, pid: int) -> None:
        held = self._held
        if held is not None and held.client != client and not is_descendant(pid, held.pid):
            raise HeldError(held.holder)

    def _check(self, change: WeightUpdate, stage_fd: int) -> None:
        origin = self._origin
        if origin and origin.repository != change.origin.repository and not change.take:
            raise OtherRepositoryError(origin.repository, change.origin.repository)
        self._check_stamps(change)
        self._writer.prepare(change, stage_fd)

    def _check_stamps(self, change: WeightUpdate) -> None:
        if change.generation != self._generation:
            raise MovedOnError("another client has written to it meanwhile")
        if change.stamp != sum(self._hooks.counts().values()):
            raise MovedOnError("its own process has written to its weights meanwhile")

    def commit(self, client: int) -> EngineState:
        """Write the prepared update, between steps.

        Raises:
            NothingPreparedError: none is prepared.
            NoPauseError: steps do not end; nothing was written.
            MovedOnError: the weights changed since; nothing was written.
            TornError: the weights are not what was written, or a hook failed; steps wait until they
                are repaired.
        """
        with self._lock:
            change = self._prepared
            if change is None or self._holder != client:
                raise NothingPreparedError
            try:
                self._hooks.check()
                if not self._gate.shut(self._wait):
                    raise NoPauseError(self._wait)
                begin = time.monotonic_ns()
                try:
                    self._check_stamps(change)
                    self._write(change)
                finally:
                    if self._phase is Phase.STEADY:
                        self._gate.open()
                    self._paused = (time.monotonic_ns() - begin) // 1000
            finally:
                self._forget()
            return self.state()

    def _write(self, change: WeightUpdate) -> None:
        if change.tensors:
            self._phase = Phase.WRITING
        try:
            self._writer.commit()
            self._hooks.written([tensor.name for tensor in change.tensors])
            self._run_hook(change.origin)
            self._clean = dict(self._hooks.counts())
        except BaseException as error:
            self._torn = str(error) or type(error).__name__  # before the phase that needs it
            self._phase = Phase.TORN
            self._origin = None
            log.critical("pvc: %s The engine is paused until a checkout repairs it.", self._torn)
            raise
        finally:
            self._generation += 1
        self._origin = change.origin
        self._phase = Phase.STEADY

    def _run_hook(self, origin: ContentLabel) -> None:
        """Call the hook that has to run before steps go on; it may raise any error."""
        try:
            self._hooks.committed(origin)
        except Exception as error:
            raise TornError((str(error) or type(error).__name__)[:MAX_REASON]) from error

    def applied(self) -> Sequence[Tensor]:
        """See `WeightWriter.applied`."""
        with self._lock:
            return self._writer.applied()

    def drop(self, client: int) -> None:
        """Drop the update that a client has prepared."""
        with self._lock:
            if self._holder == client:
                self._forget()

    def leave(self, client: int) -> None:
        """A client has gone: what it has prepared is dropped, and what it held is free."""
        with self._lock:
            if self._holder == client:
                self._forget()
            if self._held is not None and self._held.client == client:
                self._held = None

    def close(self) -> None:
        """Drop what is prepared, and let steps go on; clients are turned away by `Control`."""
        with self._lock:
            self._forget()
            self._gate.open()

    def _forget(self) -> None:
        self._writer.drop()
        self._prepared = None
        self._holder = None
        self._holder_pid = None


def _who(pid: int) -> str:
    """A client, for people; of another PID namespace, its process id is 0 here."""
    return f"process {pid}" if pid > 0 else "a process elsewhere"
