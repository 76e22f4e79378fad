"""Writing to live weights, within the process that owns them.

Preparing checks everything that can be checked and changes nothing: the staged blocks are what
their keys say, they belong to tensors of this engine, and the blocks that they replace hold what
the client thinks.  What is left for the commit is to copy, and to verify what was written.

Of a block that several processes hold parts of, each sees its own part only; whoever sees them all
compares what it replaces (see pvc.live.vllm.ranks.ranks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pvc import parallel
from pvc.errors import PvcError
from pvc.live.memory import sealed
from pvc.live.memory.host import key_of, pieces_of
from pvc.live.protocol.update import lengths, offsets, stage_bytes
from pvc.wording import shown
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from pvc.live.memory.host import Memory, Writable
    from pvc.live.protocol.manifest import LiveTensor, Manifest
    from pvc.live.protocol.region import MemoryPiece
    from pvc.live.protocol.update import TensorUpdate, WeightUpdate
    from pvc.parallel import Stop
    from pvc_store.tree import Tensor

    Bytes = NDArray[np.uint8]

_SLICES = 8
"""Slices of work per thread, so that threads end at about the same time."""


class ForeignTensorError(PvcError):
    """A change names what the engine does not have.

    Attributes:
        name: the tensor.
        detail: what was found and what was expected.
    """

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        self.detail = detail
        super().__init__(f"The tensor {name} cannot be changed in this engine: {detail}.")


class StagedError(PvcError):
    """Staged bytes are not what their key says.

    Attributes:
        name: the tensor that they are for.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"The bytes staged for the tensor {name} are not what their key says.")


class MovedOnError(PvcError):
    """The engine does not hold what the client thinks.

    Attributes:
        detail: what differs.
    """

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(f"The engine holds something else than the client thinks: {detail}.")


class NothingPreparedError(PvcError):
    """A commit was asked for, and nothing is prepared."""

    def __init__(self) -> None:
        super().__init__("Nothing is prepared that could be committed.")


class TornError(PvcError):
    """Weights are not what was written to them.

    Attributes:
        names: the tensors.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(f"After they were written, {shown(names)} do not hold what was written.")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a change.

    Attributes:
        tensor: the tensor it belongs to.
        index: which block of it.
        before: its key now.
        after: its key then.
        at: where it lies in the stage.
        length: its bytes.
        pieces: where it goes.
    """

    tensor: LiveTensor
    index: int
    before: bytes
    after: bytes
    at: int
    length: int
    pieces: tuple[MemoryPiece, ...]

    @property
    def whole(self) -> bytes | None:
        """Its key, if it lies in one piece."""
        one = len(self.pieces) == 1 and self.pieces[0].length == self.length
        return self.after if one else None

    @property
    def is_here(self) -> bool:
        """Whether all of it lies in this process."""
        return sum(piece.rows * piece.length for piece in self.pieces) >= self.length


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A change that can be committed.

    Attributes:
        change: what it is.
        blocks: its blocks, as far as they lie here.
        stages: for each storage, the loaded stage.
    """

    change: WeightUpdate
    blocks: tuple[Block, ...]
    stages: dict[int, Any]


class Writer:
    """Writes to the storages of this process.

    Args:
        manifest: where tensors lie.
        memories: every storage, for reading.
        targets: every storage, for writing.
        threads: how many do the work.
    """

    def __init__(
        self,
        manifest: Manifest,
        memories: Sequence[Memory],
        targets: Sequence[Writable],
        threads: int,
    ) -> None:
        self._manifest = manifest
        self._memories = memories
        self._targets = targets
        self._threads = threads
        self._nbytes = nbytes_of(manifest)
        self._prepared: _Prepared | None = None

    def prepare(self, change: WeightUpdate, stage_fd: int) -> None:
        """Check a change and its stage, and keep it ready; nothing is changed.

        Args:
            change: what is to change.
            stage_fd: memory with its blocks, to which nobody can write any more.

        Raises:
            ForeignTensorError: it does not fit this engine.
            SealError: the stage can still change, or has another size.
            StagedError: a staged block is not what its key says.
            MovedOnError: a block to be replaced does not hold what the client thinks.
        """
        self.drop()
        check_fits(change, self._manifest)
        nbytes = stage_bytes(change, self._nbytes)
        stage = sealed.map_sealed(stage_fd, nbytes, sealed.STAGE_SEALS, "The stage")
        blocks = tuple(block for block in self._blocks(change) if block.pieces)

        def check(block: Block) -> None:
            if block_key(stage[block.at : block.at + block.length].data) != block.after:
                raise StagedError(block.tensor.name)
            if block.is_here:
                check_before(block.tensor, block.index, block.before, self._memories)

        self._each(blocks, check)
        used = sorted({piece.storage for block in blocks for piece in block.pieces})
        stages = {one: self._targets[one].load(stage) for one in used}
        self._prepared = _Prepared(change, blocks, stages)

    def commit(self) -> None:
        """Copy what was prepared, and verify what was written.

        Raises:
            NothingPreparedError: nothing was.
            TornError: it is not what was written.
        """
        prepared = self._prepared
        if prepared is None:
            raise NothingPreparedError
        wrong: list[str] = []

        def write(block: Block) -> None:
            if not self._write(block, prepared.stages):
                wrong.append(block.tensor.name)

        used = [self._targets[storage] for storage in prepared.stages]
        for target in used:
            target.begin()
        self._each(prepared.blocks, write)
        right = [target.finish() for target in used]
        if not all(right):
            wrong += [tensor.name for tensor in prepared.change.tensors]
        if wrong:
            raise TornError(sorted(set(wrong)))

    def _write(self, block: Block, stages: Mapping[int, Any]) -> bool:
        """Copy a block; whether it is there then."""
        for piece in block.pieces:
            self._targets[piece.storage].write(piece, stages[piece.storage], block.at)
        return all(
            self._targets[piece.storage].holds(piece, stages[piece.storage], block.at, block.whole)
            for piece in block.pieces
        )

    def drop(self) -> None:
        """Forget what was prepared."""
        self._prepared = None

    def applied(self) -> tuple[Tensor, ...]:
        """See `Writing.applied`; every tensor is direct."""
        return ()

    def _blocks(self, change: WeightUpdate) -> list[Block]:
        places = offsets(lengths(change, self._nbytes))
        blocks = []
        for part in change.tensors:
            tensor = self._manifest.tensors[part.name]
            for index, before, after in part.blocks():
                at, length = next(places)
                pieces = pieces_of(tensor, index)
                blocks.append(Block(tensor, index, before, after, at, length, pieces))
        return blocks

    def _each(self, blocks: tuple[Block, ...], work: Callable[[Block], None]) -> None:
        count = -(-len(blocks) // (self._threads * _SLICES)) or 1
        slices = [blocks[at : at + count] for at in range(0, len(blocks), count)]

        def run(some: tuple[Block, ...], stop: Stop) -> None:
            for block in some:
                stop.check()
                work(block)

        parallel.run(slices, run, min(self._threads, len(slices)))


def nbytes_of(manifest: Manifest) -> dict[str, int]:
    """The bytes of every tensor of an engine."""
    return {name: tensor.nbytes for name, tensor in manifest.tensors.items()}


def check_fits(change: WeightUpdate, manifest: Manifest) -> None:
    """Make sure that a change is one of an engine's tensors.

    Raises:
        ForeignTensorError: it is not.
    """
    for tensor in change.tensors:
        _check_tensor(tensor, manifest)
    changes = {tensor.name: tensor for tensor in change.tensors}
    for group in manifest.ties:
        found = [changes[name] for name in group if name in changes]
        for one in found[1:]:
            if (one.indices, one.after) != (found[0].indices, found[0].after):
                detail = f"it is one with {found[0].name} in memory, and not in the new tree"
                raise ForeignTensorError(one.name, detail)


def check_before(tensor: LiveTensor, index: int, key: bytes, memories: Sequence[Memory]) -> None:
    """Make sure that a block holds what the client thinks.

    Raises:
        MovedOnError: it does not.
    """
    if key_of(tensor, index, memories, np.empty(BLOCK_BYTES, np.uint8)) != key:
        raise MovedOnError(f"{tensor.name} has other bytes")


def _check_tensor(change: TensorUpdate, manifest: Manifest) -> None:
    tensor = manifest.tensors.get(change.name)
    if tensor is None:
        raise ForeignTensorError(change.name, "the engine has none of this name")
    if (tensor.kind.name, tensor.shape) != (change.kind, change.shape):
        found = f"{tensor.kind.name} {list(tensor.shape)}"
        detail = f"it is {found} there, and {change.kind} {list(change.shape)} in the new tree"
        raise ForeignTensorError(change.name, detail)
    if not tensor.direct and tensor.name not in manifest.grouped:
        raise ForeignTensorError(change.name, "its bytes lie there in another form")
    if change.indices and change.indices[-1] >= tensor.block_count:
        detail = f"it has {tensor.block_count} blocks, and block {change.indices[-1]} is named"
        raise ForeignTensorError(change.name, detail)
