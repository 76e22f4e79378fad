"""Writing to live weights, within the process that owns them.

Preparing checks everything that can be checked and changes nothing: the staged blocks are what
their keys say, they belong to tensors of this engine, and the blocks that they replace are those
that the client expects.  The commit copies, and verifies what was written.

Where several processes have parts of a block, each sees its own part only; the process that sees
all parts compares the block (see `pvc.live.vllm.ranks.ranks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvc import parallel
from pvc.errors import PvcError
from pvc.live.engine.update_checks import check_before, check_fits, check_staged
from pvc.live.memory import sealed
from pvc.live.memory.host import pieces_of
from pvc.live.protocol.update import lengths, offsets, stage_bytes
from pvc.wording import agreeing, shown
from pvc_store.ids import block_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pvc.live.memory.host import Memory, Writable
    from pvc.live.protocol.manifest import LiveTensor, Manifest
    from pvc.live.protocol.region import MemoryPiece
    from pvc.live.protocol.update import WeightUpdate
    from pvc.parallel import Stop
    from pvc_store.tree import Tensor

_SLICES = 8
"""Slices of work per thread, so that threads end at about the same time."""


class NothingPreparedError(PvcError):
    """A commit was requested, and nothing is prepared."""

    def __init__(self) -> None:
        super().__init__("Nothing is prepared that could be committed.")


class TornError(PvcError):
    """Weights are not what was written, or what has to follow failed; the engine is paused."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of an update.

    Attributes:
        tensor: the tensor it belongs to.
        index: which block of it.
        before: its key before the update.
        after: its key after the update.
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
    """An update that can be committed.

    Attributes:
        change: the update.
        blocks: its blocks of which this process has a part.
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
        threads: how many threads share the work.
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
        self._prepared: _Prepared | None = None

    def prepare(self, change: WeightUpdate, stage_fd: int) -> None:
        """Check an update and its stage, and keep it ready; nothing is changed.

        Args:
            change: the update.
            stage_fd: memory with its blocks, to which nobody can write any more.

        Raises:
            RejectedTensorError: it does not fit this engine, or a staged block is not what its key
                says.
            SealError: the stage can still change, or has another size.
            MovedOnError: a block to be replaced is another one than the client thinks.
        """
        self.drop()
        check_fits(change, self._manifest)
        nbytes = stage_bytes(change, self._nbytes)
        stage = sealed.map_sealed(stage_fd, nbytes, sealed.STAGE_SEALS, "The stage")
        blocks = tuple(block for block in self._blocks(change) if block.pieces)

        def check(block: Block) -> None:
            staged = block_key(stage[block.at : block.at + block.length].data)
            check_staged(block.tensor.name, staged, block.after)
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
            names = sorted(set(wrong))
            differ = agreeing(len(names), "differs", "differ")
            raise TornError(f"{shown(names)} {differ} from what was written.")

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
        """See `WeightWriter.applied`; every tensor is direct."""
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
