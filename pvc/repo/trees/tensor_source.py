"""Sources of tensors for a capture: checkpoints, engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc_store.kinds import Kind


class ReadableTensor(Protocol):
    """A tensor that can be read."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def kind(self) -> Kind:
        """Its numeric kind."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        ...

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        ...


class TensorReader(Protocol):
    """What tensors are read from, by several threads."""

    def read_into(self, place: Any, start: int, out: memoryview) -> None:
        """Fill `out` with the bytes of a tensor from byte `start` on, all of them of one block."""
        ...


class TensorSource(TensorReader, Protocol):
    """Tensors, and what they are read from."""

    @property
    def tensors(self) -> Mapping[str, ReadableTensor]:
        """The tensors by name."""
        ...
