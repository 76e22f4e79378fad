"""Writing to live weights, within the process that owns them.

Preparing checks everything that can be checked and changes nothing: the staged blocks are what
their keys say, they belong to tensors of this engine, and the blocks that they replace hold what
the client thinks.  What is left for the commit is to copy, and to verify what was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pvc.errors import PvcError
from pvc.live.change import lengths, offsets, stage_bytes
from pvc.live.memory import key_of, pieces_of
from pvc.repo import workers
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from pvc.live.change import Change, TensorChange
    from pvc.live.manifest import LiveTensor, Manifest
    from pvc.live.memory import Memory, Writable
    from pvc.live.region import Piece
    from pvc.repo.workers import Stop

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


class TornError(PvcError):
    """Weights are not what was written to them.

    Attributes:
        names: the tensors.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        super().__init__(
            f"After they were written, {', '.join(names[:3])}{more} do not hold what was written."
        )


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
    pieces: tuple[Piece, ...]

    @property
    def whole(self) -> bytes | None:
        """Its key, if it lies in one piece."""
        one = len(self.pieces) == 1 and self.pieces[0].length == self.length
        return self.after if one else None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A change that can be committed.

    Attributes:
        change: what it is.
        blocks: its blocks.
        stages: for each storage, the loaded stage.
    """

    change: Change
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
        self._nbytes = {name: tensor.nbytes for name, tensor in manifest.tensors.items()}

    def check(self, change: Change) -> int:
        """Make sure that a change fits this engine; the size that its stage must have.

        Raises:
            ForeignTensorError: it does not.
        """
        for tensor in change.tensors:
            _check_tensor(tensor, self._manifest.tensors)
        self._check_ties({tensor.name: tensor for tensor in change.tensors})
        return stage_bytes(change, self._nbytes)

    def prepare(self, change: Change, stage: Bytes) -> Prepared:
        """Check a change and its stage; nothing is changed.

        Args:
            change: a change that was checked.
            stage: its blocks; nobody may write to it any more.

        Raises:
            StagedError: a staged block is not what its key says.
            MovedOnError: a block to be replaced does not hold what the client thinks.
        """
        blocks = tuple(self._blocks(change))

        def check(block: Block) -> None:
            if block_key(stage[block.at : block.at + block.length].data) != block.after:
                raise StagedError(block.tensor.name)
            scratch = np.empty(BLOCK_BYTES, np.uint8)
            if key_of(block.tensor, block.index, self._memories, scratch) != block.before:
                raise MovedOnError(f"{block.tensor.name} has other bytes")

        self._each(blocks, check)
        used = sorted({piece.storage for block in blocks for piece in block.pieces})
        return Prepared(change, blocks, {one: self._targets[one].load(stage) for one in used})

    def commit(self, prepared: Prepared) -> None:
        """Copy what was prepared, and verify what was written.

        Raises:
            TornError: it is not what was written.
        """
        wrong: list[str] = []

        def write(block: Block) -> None:
            for piece in block.pieces:
                stage = prepared.stages[piece.storage]
                self._targets[piece.storage].write(piece, stage, block.at)
            for piece in block.pieces:
                stage = prepared.stages[piece.storage]
                target = self._targets[piece.storage]
                if not target.holds(piece, stage, block.at, block.whole):
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

    def _blocks(self, change: Change) -> list[Block]:
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

        workers.run(slices, run, min(self._threads, len(slices)))

    def _check_ties(self, changes: dict[str, TensorChange]) -> None:
        for group in self._manifest.ties:
            found = [changes[name] for name in group if name in changes]
            for one in found[1:]:
                if (one.indices, one.after) != (found[0].indices, found[0].after):
                    detail = f"it is one with {found[0].name} in memory, and not in the new tree"
                    raise ForeignTensorError(one.name, detail)


def _check_tensor(change: TensorChange, tensors: Mapping[str, LiveTensor]) -> None:
    tensor = tensors.get(change.name)
    if tensor is None:
        raise ForeignTensorError(change.name, "the engine has none of this name")
    if (tensor.kind.name, tensor.shape) != (change.kind, change.shape):
        found = f"{tensor.kind.name} {list(tensor.shape)}"
        detail = f"it is {found} there, and {change.kind} {list(change.shape)} in the new tree"
        raise ForeignTensorError(change.name, detail)
    if not tensor.direct:
        raise ForeignTensorError(change.name, "its bytes lie there in another form")
    if change.indices and change.indices[-1] >= tensor.block_count:
        detail = f"it has {tensor.block_count} blocks, and block {change.indices[-1]} is named"
        raise ForeignTensorError(change.name, detail)
