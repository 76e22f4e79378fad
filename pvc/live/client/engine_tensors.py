"""The tensors of an engine, read by position, to be captured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pvc.errors import PvcError
from pvc.live.client.reading import UnsteadyError, moment
from pvc.live.memory.host import gather
from pvc.live.protocol.engine_state import Phase
from pvc_store.block import BLOCK_BYTES
from pvc_store.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pvc.live.client.connection import Connection
    from pvc.live.protocol.manifest import LiveTensor
    from pvc_store.tree import Tensor, Tree

    Bytes = NDArray[np.uint8]


class OtherFormError(PvcError):
    """A tensor cannot be read from an engine, nor from the repository.

    Attributes:
        engine: its name.
        tensor: name of the tensor.
    """

    def __init__(self, engine: str, tensor: str) -> None:
        self.engine = engine
        self.tensor = tensor
        super().__init__(
            f"The engine {engine} keeps the tensor {tensor} in another form, and the repository "
            "does not have what it was made of."
        )


class EngineTensors:
    """An engine's tensors, from now until `check_unchanged`.

    Args:
        connection: to the engine.
        like: a tree whose tensors are taken; None takes all, and of tied ones the first.

    Attributes:
        state: the engine's, before anything was read.
        tensors: name -> tensor, with `name`, `kind`, `shape` and `nbytes`.
        applied: those that the engine keeps in another form, as it says that they were loaded.
        kept: reads blocks of these from the store; None if there is none.
    """

    kept: Callable[[Tensor, int, Bytes], None] | None = None

    def __init__(self, connection: Connection, like: Tree | None = None) -> None:
        self._connection = connection
        self.state = connection.state()
        self.applied = connection.applied()
        manifest = connection.manifest
        chosen = manifest.tensors.keys() - manifest.tied_to if like is None else like.keys()
        self.tensors: dict[str, LiveTensor] = {
            name: tensor for name, tensor in manifest.tensors.items() if name in chosen
        }

    def read_into(self, tensor: LiveTensor, start: int, out: Bytes | memoryview) -> None:
        """Fill `out` with the bytes of a tensor from byte `start` on, at most to its block's end.

        Raises:
            ValueError: the bytes are not all in one block.
            OtherFormError: the engine keeps the tensor in another form, and its bytes are not kept
                elsewhere.
        """
        index, inside = divmod(start, BLOCK_BYTES)
        scratch = np.empty(BLOCK_BYTES, np.uint8)
        if tensor.direct:
            block = gather(tensor, index, self._connection.memories, scratch)
        else:
            block = self._applied(tensor, index, scratch)
        part = block[inside : inside + len(out)]
        if len(part) != len(out):
            raise ValueError(f"{tensor.name}: bytes {start} to {start + len(out)} span blocks")
        np.asarray(out)[:] = part

    def _applied(self, tensor: LiveTensor, index: int, scratch: Bytes) -> Bytes:
        """A block of a tensor that is not direct, from where that was kept."""
        applied = self.applied[tensor.name]
        block = scratch[: applied.block_length(index)]
        other = OtherFormError(self._connection.name, tensor.name)
        if self.kept is None:
            raise other
        try:
            self.kept(applied, index, block)
        except MissingError:
            raise other from None
        return block

    def check_unchanged(self) -> None:
        """Make sure that all tensors were read in one state of the engine.

        Raises:
            UnsteadyError: the engine's weights changed meanwhile.
        """
        after = self._connection.state()
        if moment(after) != moment(self.state) or after.phase is Phase.WRITING:
            raise UnsteadyError(self._connection.name)
