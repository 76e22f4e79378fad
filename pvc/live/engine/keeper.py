"""The keeper of an engine's weights: who may change them, when, and what is known of them.

At most one change is prepared at a time; it belongs to the client that prepared it, and goes when
the client does.  From the commit on it needs no client any more.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pvc.errors import PvcError
from pvc.live.engine.writer import MovedOnError, NothingPreparedError
from pvc.live.protocol.engine_state import EngineState, OtherRepositoryError, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pvc.live.protocol.engine_state import ContentLabel
    from pvc.live.protocol.update import WeightUpdate
    from pvc_store.tree import Tensor

log = logging.getLogger("pvc.live")

COMMIT_WAIT_SECONDS = 120.0
BUSY_WAIT_SECONDS = 1.0
MAX_REASON = 1000


class BusyError(PvcError):
    """Another client's change is prepared.

    Attributes:
        holder: its process id, as far as it is known.
    """

    def __init__(self, holder: int | None) -> None:
        self.holder = holder
        who = "Another process" if holder is None else f"Process {holder}"
        super().__init__(f"{who} is changing this engine's weights.")


class NoPauseError(PvcError):
    """Steps lasted too long to write between them.

    Attributes:
        seconds: how long it was waited for their end.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"The engine's steps did not end within {seconds:g} seconds; nothing was written."
        )


class AfterwardsError(PvcError):
    """New weights were written, and what has to follow failed; the engine is paused.

    Attributes:
        reason: what was raised.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason[:MAX_REASON]
        super().__init__(self.reason)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the keeper asks of the framework that the weights are used by.

    Attributes:
        counts: how often the framework wrote to each tensor in place; those that it counts.
        written: told the names of tensors that a commit wrote.
        committed: runs before steps go on; an error leaves the engine paused.
        check: raises if the framework uses other weights than those that are kept.
    """

    counts: Callable[[], Mapping[str, int]]
    written: Callable[[Sequence[str]], None]
    committed: Callable[[ContentLabel], None]
    check: Callable[[], None] = lambda: None


class WeightWriter(Protocol):
    """Writes a change in two phases; see pvc.live.engine.writer."""

    def prepare(self, change: WeightUpdate, stage_fd: int) -> None:
        """Check a change and its stage, and keep it ready; nothing is changed."""
        ...

    def commit(self) -> None:
        """Write what was prepared, and verify it."""
        ...

    def drop(self) -> None:
        """Forget what was prepared."""
        ...

    def applied(self) -> Sequence[Tensor]:
        """What was last written to tensors that are not direct: `pvc.live.protocol.applied`."""
        ...


class Steps(Protocol):
    """The steps of an engine, which commits have to wait for; see pvc.live.engine.step_gate."""

    def shut(self, wait: float) -> bool:
        """Hold new steps back and wait for those under way; whether they ended in time."""
        ...

    def open(self) -> None:
        """Let steps go on."""
        ...


class Keeper:
    """Keeps one engine's weights.

    Args:
        writer: writes to them.
        gate: lets commits in between steps.
        hooks: see there.
        wait: seconds that a commit waits for steps to end.
    """

    def __init__(
        self, writer: WeightWriter, gate: Steps, hooks: Hooks, wait: float = COMMIT_WAIT_SECONDS
    ) -> None:
        self._writer = writer
        self._gate = gate
        self._hooks = hooks
        self._wait = wait
        self._lock = threading.Lock()  # over the prepared change, and whoever writes
        self._prepared: WeightUpdate | None = None
        self._holder: int | None = None  # a connection
        self._holder_pid: int | None = None
        self._origin: ContentLabel | None = None
        self._generation = 0
        self._clean = dict(hooks.counts())  # when pvc wrote last
        self._phase = Phase.STEADY
        self._torn: str | None = None
        self._paused = 0

    def state(self) -> EngineState:
        """What is known of the weights; answers at once, also while they are written."""
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
        )

    def check(self) -> None:
        """Make sure that what is kept is what the framework uses; it may raise what it likes."""
        self._hooks.check()

    def prepare(self, change: WeightUpdate, stage_fd: int, client: int, pid: int) -> None:
        """Check a change and keep it ready.

        Args:
            change: what the client wants.
            stage_fd: its stage.
            client: the connection that it belongs to.
            pid: the client's process id.

        Raises:
            BusyError: another client's change is prepared.
            OtherRepositoryError: the engine is another repository's.
            MovedOnError, StagedError, ForeignTensorError, SealError: it does not fit.
        """
        if not self._lock.acquire(timeout=BUSY_WAIT_SECONDS):
            raise BusyError(self._holder_pid)
        try:
            if self._holder not in {None, client}:
                raise BusyError(self._holder_pid)
            self._forget()
            self._holder, self._holder_pid = client, pid
            self._check(change, stage_fd)
            self._prepared = change
        except BusyError:
            raise
        except BaseException:
            self._forget()
            raise
        finally:
            self._lock.release()

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
        """Write what is prepared, between steps.

        Raises:
            NothingPreparedError: nothing is.
            NoPauseError: steps do not end; nothing was written.
            MovedOnError: the weights changed since; nothing was written.
            TornError: the weights are not what was written; steps wait until they are repaired.
        """
        with self._lock:
            change = self._prepared
            if change is None or self._holder != client:
                raise NothingPreparedError
            try:
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
            self._tell(change.origin)
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

    def _tell(self, origin: ContentLabel) -> None:
        """Let the framework know before steps go on; it may raise whatever it likes."""
        try:
            self._hooks.committed(origin)
        except Exception as error:
            raise AfterwardsError(str(error) or type(error).__name__) from error

    def applied(self) -> Sequence[Tensor]:
        """See `Writing.applied`."""
        with self._lock:
            return self._writer.applied()

    def drop(self, client: int) -> None:
        """Forget what a client has prepared."""
        with self._lock:
            if self._holder == client:
                self._forget()

    def close(self) -> None:
        """Let steps go on for good; changes are refused by the control's end."""
        with self._lock:
            self._forget()
            self._gate.open()

    def _forget(self) -> None:
        self._writer.drop()
        self._prepared = None
        self._holder = None
        self._holder_pid = None
