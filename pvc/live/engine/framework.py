"""What the keeper of an engine needs from its framework: hooks, a writer, and steps that pause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pvc.live.protocol.engine_state import ContentLabel
    from pvc.live.protocol.update import WeightUpdate
    from pvc_store.tree import Tensor


@dataclass(frozen=True, slots=True)
class FrameworkHooks:
    """Functions of the framework that computes with the weights.

    Attributes:
        counts: how often the framework wrote to each tensor in place; of those that it counts.
        written: called with the names of the tensors that a commit wrote.
        committed: called with what was written before steps go on; an error leaves the engine
            paused.
        check: raises an error if the framework computes with other weights than the shared ones.
    """

    counts: Callable[[], Mapping[str, int]]
    written: Callable[[Sequence[str]], None]
    committed: Callable[[ContentLabel], None]
    check: Callable[[], None] = lambda: None


class WeightWriter(Protocol):
    """Writes an update in two phases; see `pvc.live.engine.writer`."""

    def prepare(self, change: WeightUpdate, stage_fd: int) -> None:
        """Check an update and its stage, and keep it ready; nothing is changed."""
        ...

    def commit(self) -> None:
        """Write what was prepared, and verify it."""
        ...

    def drop(self) -> None:
        """Forget what was prepared."""
        ...

    def applied(self) -> Sequence[Tensor]:
        """What was last written to the tensors that are not direct; see `applied_tensors`."""
        ...


class Steps(Protocol):
    """The steps of an engine, between which commits write; see `pvc.live.engine.step_gate`."""

    def shut(self, wait: float) -> bool:
        """Hold new steps back and wait for those under way; whether they ended in time."""
        ...

    def open(self) -> None:
        """Let steps go on."""
        ...
