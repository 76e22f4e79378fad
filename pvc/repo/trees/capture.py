"""Capturing: the bytes of tensors become blocks in the store, a tree, a layout, and counts.

They are read from a checkpoint, or from whatever else has tensors, such as an engine.

One thread handles one tensor at a time, block by block; the largest tensors come first.  A tensor
none of whose blocks differ from the base's is neither hashed nor stored again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from blake3 import blake3

from pvc import parallel
from pvc.codec import ChangeSums, SideCounts, element_count, measure, same
from pvc.repo.trees.block_sides import block_sides
from pvc.repo.trees.changes import RawBlock, block_change, compare, total
from pvc.repo.trees.put_block import put_block
from pvc.repo.trees.statistics import Capture, TensorCapture
from pvc.weights.reader import CheckpointReader
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key
from pvc_store.kinds import BYTES
from pvc_store.layout import Layout, OtherFile, WeightsFile
from pvc_store.tree import Tensor, Tree, block_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from pvc.parallel import Crew, Progress
    from pvc.repo.trees.blocks import Blocks
    from pvc.repo.trees.tensor_source import ReadableTensor, TensorReader, TensorSource
    from pvc.weights.checkpoint import Checkpoint
    from pvc_store.store import StoreWriter

    Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """What a capture is for.

    Attributes:
        origin: the tree to count changes against; None counts none, and measures the tensors.
        squares: sums of squares of the origin's tensors, as far as they are known.
        keep_tensors: whether the bytes of tensors are stored, or only named.
        other: a tree beside the base; it is counted which elements are the one's or the other's.
    """

    origin: Tree | None
    squares: Mapping[str, float] = field(default_factory=dict)
    keep_tensors: bool = True
    other: Tree | None = None


def capture(
    checkpoint: Checkpoint, blocks: Blocks, writing: StoreWriter, goal: CaptureOptions, crew: Crew
) -> Capture:
    """Capture a checkpoint.

    Args:
        checkpoint: what to read.
        blocks: raw blocks of stored trees; without a base, its tree is empty.
        writing: where new blocks go.
        goal: what to count and to keep.
        crew: threads, and who is shown the progress.

    Raises:
        ChangedError: a file changed while it was read.
        CollisionError: a block's key is taken by another block.
    """
    with CheckpointReader(checkpoint) as reader:
        shared = _Shared(reader, blocks, writing, goal, crew.progress)
        tensors = shared.tensors(checkpoint.tensors.values(), crew.threads)
        layout = _Files(shared, checkpoint, reader).layout()
    checkpoint.check_unchanged()
    return Capture(Tree(one.tensor for one in tensors), layout, tensors)


def capture_tensors(
    source: TensorSource, blocks: Blocks, writing: StoreWriter, goal: CaptureOptions, crew: Crew
) -> tuple[TensorCapture, ...]:
    """Capture tensors alone, sorted by name; otherwise as `capture`."""
    shared = _Shared(source, blocks, writing, goal, crew.progress)
    return shared.tensors(source.tensors.values(), crew.threads)


def recounted(captured: Capture, origin: Tree, blocks: Blocks, crew: Crew) -> Capture:
    """The same capture with its changes counted against another tree; reads both from the store."""
    changes = compare(origin, captured.tree, blocks, crew)
    found = {one.tensor.name: one for one in changes if one.after is not None}
    tensors = tuple(
        replace(
            one,
            change=found[one.tensor.name].change,
            changed_blocks=found[one.tensor.name].changed_blocks,
        )
        for one in captured.tensors
    )
    return replace(captured, tensors=tensors)


@dataclass
class _Shared:
    """What all threads share; see `capture`."""

    reader: TensorReader
    blocks: Blocks
    writing: StoreWriter
    goal: CaptureOptions
    progress: Progress
    captured: list[TensorCapture] = field(default_factory=list)

    def tensors(self, places: Iterable[ReadableTensor], threads: int) -> tuple[TensorCapture, ...]:
        """Capture tensors; the largest first, since one thread has each."""
        largest_first = sorted(places, key=lambda place: -place.nbytes)
        self.progress.start("Reading", sum(place.nbytes for place in largest_first))
        parallel.run(largest_first, self.tensor, threads)
        return tuple(sorted(self.captured, key=lambda one: one.tensor.name))

    def tensor(self, place: ReadableTensor, stop: parallel.Stop) -> None:
        """Capture one tensor."""
        self.captured.append(_TensorRun(self, place).run(stop))

    def put(self, block: RawBlock, place: tuple[str, int] | None) -> None:
        """Store a block, unless tensors are only to be named; see `put_block`."""
        if self.goal.keep_tensors or block.kind is BYTES:
            put_block(block, place, self.blocks, self.writing)


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of a checkpoint."""

    shared: _Shared
    checkpoint: Checkpoint
    reader: CheckpointReader

    def layout(self) -> Layout:
        """How the checkpoint came as files; the bytes of files without tensors are stored."""
        weights = [
            WeightsFile(shard.path, shard.header, shard.apart) for shard in self.checkpoint.shards
        ]
        return Layout([*weights, *map(self._other, self.checkpoint.files)])

    def _other(self, path: str) -> OtherFile:
        text = self.checkpoint.rewritten.get(path)
        size = self.checkpoint.fingerprint[path].size if text is None else len(text)
        keys, hasher = bytearray(), blake3()
        for start in range(0, size, BLOCK_BYTES):
            raw = self.shared.blocks.buffer("new", min(BLOCK_BYTES, size - start))
            if text is None:
                self.reader.read_file_into(path, start, raw.data)
            else:
                raw.data[:] = text[start : start + len(raw)]
            hasher.update(raw.data)
            key = block_key(raw.data)
            self.shared.put(RawBlock(raw, BYTES, key), None)
            keys += key
        return OtherFile(path, size, hasher.digest(), bytes(keys))


class _TensorRun:
    """One tensor while it is captured, by one thread."""

    def __init__(self, shared: _Shared, place: ReadableTensor) -> None:
        goal, name = shared.goal, place.name
        self.shared = shared
        self.place = place
        self.nbytes = place.nbytes
        self.base = _like(shared.blocks.base.get(name), place)
        self.origin = None if goal.origin is None else goal.origin.get(name)
        self.other = None if goal.other is None else goal.other.get(name)
        self.square = goal.squares.get(name)
        self.keys = bytearray()
        self.hasher: blake3 | None = None
        self.changes: list[ChangeSums] = []
        self.sides = SideCounts()
        self.same_bytes = 0
        self.changed_blocks = 0

    def run(self, stop: parallel.Stop) -> TensorCapture:
        for index in range(block_count(self.nbytes)):
            stop.check()
            raw = self._read(index)
            key = self._key(index, raw)
            self.keys += key
            self._count(index, raw, key)
            self._count_sides(index, raw, key)
            self.shared.progress.advance(len(raw))
        return TensorCapture(self._tensor(), self._change(), self.changed_blocks, self.sides)

    def _read(self, index: int) -> Bytes:
        start = index * BLOCK_BYTES
        raw = self.shared.blocks.buffer("new", min(BLOCK_BYTES, self.nbytes - start))
        self.shared.reader.read_into(self.place, start, raw.data)
        return raw

    def _key(self, index: int, raw: Bytes) -> bytes:
        blocks, place = self.shared.blocks, self.place
        if self.base is not None and same(raw, blocks.base_block(self.base, index)):
            if self.hasher is not None:
                self.hasher.update(raw.data)
            return self.base.key(index)
        if self.hasher is None:
            self.hasher = self._hash_before(index)
        self.hasher.update(raw.data)
        key = block_key(raw.data)
        self.shared.put(RawBlock(raw, place.kind, key), (place.name, index))
        return key

    def _hash_before(self, index: int) -> blake3:
        """A hasher that has seen the blocks before `index`, all of them equal to the base's."""
        hasher = blake3()
        if self.base is not None:
            for before in range(index):
                hasher.update(self.shared.blocks.base_block(self.base, before).data)
        return hasher

    def _tensor(self) -> Tensor:
        if self.hasher is None and self.base is not None:
            return self.base
        place, digest = self.place, (self.hasher or blake3()).digest()
        return Tensor(place.name, place.kind, place.shape, digest, bytes(self.keys))

    def _count(self, index: int, raw: Bytes, key: bytes) -> None:
        before, kind = self.origin, self.place.kind
        if self.shared.goal.origin is None:
            self.changes.append(measure(raw, kind, raw, kind))
        elif before is None or before.shape != self.place.shape:
            elements = element_count(len(raw), kind)
            self.changes.append(ChangeSums(elements, elements))
            self.changed_blocks += 1
        elif self.square is not None and before.kind == kind and before.key(index) == key:
            self.same_bytes += len(raw)
        else:
            block = RawBlock(raw, kind, key)
            change, differs = block_change(self.shared.blocks, block, index, before)
            self.changes.append(change)
            self.changed_blocks += differs

    def _count_sides(self, index: int, raw: Bytes, key: bytes) -> None:
        base, other = self.shared.blocks.base.get(self.place.name), self.other
        if base is None or other is None or not base.shape == other.shape == self.place.shape:
            return
        block = RawBlock(raw, self.place.kind, key)
        self.sides += block_sides(self.shared.blocks, block, index, base, other)

    def _change(self) -> ChangeSums:
        if self.square is None:
            return total(self.changes)
        same = ChangeSums(element_count(self.same_bytes, self.place.kind), base_square=self.square)
        if not self.changes:
            return same
        return replace(total([*self.changes, same]), base_square=self.square)


def _like(tensor: Tensor | None, place: ReadableTensor) -> Tensor | None:
    """The tensor, if it is of the place's kind and shape."""
    alike = tensor is not None and (tensor.kind, tensor.shape) == (place.kind, place.shape)
    return tensor if alike else None
