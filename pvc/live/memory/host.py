"""Live memory, read and written by pieces; on the host here, on a GPU in `pvc.live.memory.cuda`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pvc.errors import PvcError
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pvc.live.protocol.manifest import LiveTensor
    from pvc.live.protocol.region import MemoryPiece

    Bytes = NDArray[np.uint8]


class ReplicaError(PvcError):
    """A tensor cannot be read: ranks have different bytes of it, or none, or another form.

    Attributes:
        name: the tensor.
        detail: what was found.
    """

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        self.detail = detail
        super().__init__(f"The engine's tensor {name} cannot be read as a whole: {detail}.")


class Memory(Protocol):
    """One storage."""

    def rows(self, piece: MemoryPiece) -> Bytes:
        """The bytes of a piece, shape (rows, length); a view where that is possible."""
        ...


@dataclass(frozen=True, slots=True)
class HostMemory:
    """A storage in memory of the host.

    Attributes:
        data: its bytes; writable in the engine's own process only.
    """

    data: Bytes

    def rows(self, piece: MemoryPiece) -> Bytes:
        """See `Memory.rows`."""
        return strided(self.data, piece.live, piece, piece.live_step)


class Writable(Protocol):
    """A storage that can be written."""

    def load(self, stage: Bytes) -> Any:
        """Bring a stage to where it can be copied from at once."""
        ...

    def begin(self) -> None:
        """Wait until no kernel uses the weights; steps have ended, their kernels may still run."""
        ...

    def write(self, piece: MemoryPiece, stage: Any, at: int) -> None:
        """Copy a piece of the block that lies at byte `at` of the loaded stage."""
        ...

    def holds(self, piece: MemoryPiece, stage: Any, at: int, whole: bytes | None) -> bool:
        """Whether it holds that piece; `whole` is the key, if the piece is all of the block."""
        ...

    def finish(self) -> bool:
        """Wait until everything that was written is there; whether it is right."""
        ...


@dataclass(frozen=True, slots=True)
class HostWritable:
    """A storage of the host."""

    memory: HostMemory

    def load(self, stage: Bytes) -> Bytes:
        """See `Writable.load`."""
        return stage

    def begin(self) -> None:
        """See `Writable.begin`."""

    def write(self, piece: MemoryPiece, stage: Bytes, at: int) -> None:
        """See `Writable.write`."""
        np.copyto(self.memory.rows(piece), _staged(piece, stage, at))

    def holds(self, piece: MemoryPiece, stage: Bytes, at: int, whole: bytes | None) -> bool:
        """See `Writable.holds`."""
        rows = self.memory.rows(piece)
        if whole is not None:
            return block_key(rows.data) == whole
        return np.array_equal(rows, _staged(piece, stage, at))

    def finish(self) -> bool:
        """See `Writable.finish`."""
        return True


def _staged(piece: MemoryPiece, stage: Bytes, at: int) -> Bytes:
    return strided(stage, at + piece.source, piece, piece.source_step)


def strided(data: Bytes, start: int, piece: MemoryPiece, step: int) -> Bytes:
    """Rows of a piece in `data`, from byte `start` on, as a view."""
    if piece.rows == 1:
        return data[start : start + piece.length].reshape(1, piece.length)
    found = data[start : start + (piece.rows - 1) * step + piece.length]
    return as_strided(found, (piece.rows, piece.length), (step, 1))


def pieces_of(tensor: LiveTensor, index: int) -> tuple[MemoryPiece, ...]:
    """Where a block of a tensor lies; `source` counts from the block's first byte."""
    start = index * BLOCK_BYTES
    stop = min(start + BLOCK_BYTES, tensor.nbytes)
    return tuple(piece for strip in tensor.strips for piece in strip.within(start, stop))


def gather(tensor: LiveTensor, index: int, memories: Sequence[Memory], scratch: Bytes) -> Bytes:
    """The bytes of a block: a view if it lies in one piece, else `scratch`, filled.

    Raises:
        ReplicaError: replicas differ, a part is nowhere, or the bytes lie there in another form.
    """
    if not tensor.direct:
        raise ReplicaError(tensor.name, "its bytes lie there in another form")
    length = min(BLOCK_BYTES, tensor.nbytes - index * BLOCK_BYTES)
    pieces = pieces_of(tensor, index)
    if len(pieces) == 1 and pieces[0].length == length:
        found: Bytes = memories[pieces[0].storage].rows(pieces[0])[0]
        return found
    out = scratch[:length]
    covered = np.zeros(length, np.bool_) if len(tensor.regions) > 1 else None
    for piece in pieces:
        rows = memories[piece.storage].rows(piece)
        target = strided(out, piece.source, piece, piece.source_step)
        if covered is not None:
            mark = strided(covered.view(np.uint8), piece.source, piece, piece.source_step)
            if (mark.astype(np.bool_) & (target != rows)).any():
                raise ReplicaError(tensor.name, "two ranks hold different bytes")
            mark[...] = 1
        target[...] = rows
    whole = sum(piece.rows * piece.length for piece in pieces)
    if (whole if covered is None else int(covered.sum())) != length:
        raise ReplicaError(tensor.name, "a part of it is on no rank")
    return out


def key_of(tensor: LiveTensor, index: int, memories: Sequence[Memory], scratch: Bytes) -> bytes:
    """The key of a block as it is in memory now."""
    return block_key(gather(tensor, index, memories, scratch).data)
