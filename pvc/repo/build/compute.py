"""Computing a tree: stored blocks and taus become new blocks, rounded once.

For each element, with every step rounded to float32, or to float64 for tensors of F32 and F64:

    acc = start
    acc = acc + (scale * tau)       for each part, in order; no fused multiply-add
    out = acc in the base's kind    to nearest, ties to even

The taus of methods that trim or drop are computed in float32 for F32, too, as their authors do.  An
element that no part changes keeps its bits.  One that becomes Inf or NaN, of numbers that are all
finite, is an overflow.  One thread handles one tensor at a time, block by
block, so the result does not depend on their number; the largest tensors come first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from blake3 import blake3

from pvc import parallel
from pvc.codec.numbers import (
    float_type,
    from_numbers,
    has_nonfinite,
    keep_untouched,
    largest_number,
    to_numbers,
)
from pvc.merge import arithmetic
from pvc.merge.methods import SUM
from pvc.repo.build.overflow import Overflow, overflowed
from pvc.repo.build.taus import BlockPlace, Taus
from pvc.repo.personality.formula import Link, links
from pvc.repo.trees.changes import RawBlock
from pvc.repo.trees.put_block import put_block
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key
from pvc_store.kinds import KIND_BY_NAME
from pvc_store.tree import Tensor, Tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pvc.codec.numbers import Floats
    from pvc.parallel import Crew, Stop
    from pvc.repo.build.tensor_routes import Route
    from pvc.repo.personality.formula import Operand
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.store import StoreWriter

    Bytes = NDArray[np.uint8]

_F32 = KIND_BY_NAME["F32"]


@dataclass(frozen=True, slots=True)
class Computed:
    """A computed tree.

    Attributes:
        tree: its weights.
        overflows: what overflowed, by tensor, sorted by name.
    """

    tree: Tree
    overflows: tuple[Overflow, ...]


class Sink(Protocol):
    """Takes computed blocks."""

    def put(self, tensor: str, index: int, raw: Bytes) -> None:
        """Take one block of a tensor; called by several threads."""
        ...


@dataclass(frozen=True, slots=True)
class Storing:
    """Computed blocks go to the store.

    Attributes:
        blocks: raw blocks of stored trees.
        writing: the store.
    """

    blocks: Blocks
    writing: StoreWriter

    def put(self, tensor: str, index: int, raw: Bytes) -> None:
        """Store a block, unless it is there.

        Raises:
            CollisionError: another one has its key.
        """
        block = RawBlock(raw, self.blocks.base[tensor].kind, block_key(raw.data))
        put_block(block, (tensor, index), self.blocks, self.writing)


def compute(
    routes: Mapping[str, Route], blocks: Blocks, sink: Sink, taus: Taus, crew: Crew
) -> Computed:
    """Compute a tree.

    Args:
        routes: where each tensor comes from.
        blocks: raw blocks of stored trees.
        sink: where computed ones go.
        taus: the taus of the vectors.
        crew: the threads, and the progress display.

    Raises:
        MissingError, DamageError: a block is missing or damaged.
    """
    shared = _Shared(blocks, sink, taus, crew)
    done = [route.stored for route in routes.values() if not route.computed]
    jobs = [_TensorRun(shared, route) for route in routes.values() if route.computed]
    jobs.sort(key=lambda job: -job.base.nbytes)
    crew.progress.start("Building", sum(job.base.nbytes for job in jobs))

    def one(job: _TensorRun, stop: Stop) -> None:
        shared.computed.append(job.run(stop))

    parallel.run(jobs, one, crew.threads)
    tree = Tree([*(tensor for tensor in done if tensor is not None), *shared.computed])
    return Computed(tree, tuple(sorted(shared.overflows, key=lambda one: one.name)))


@dataclass
class _Shared:
    """What all threads share."""

    blocks: Blocks
    sink: Sink
    taus: Taus
    crew: Crew
    computed: list[Tensor] = field(default_factory=list)
    overflows: list[Overflow] = field(default_factory=list)


class _TensorRun:
    """One tensor while it is computed, by one thread."""

    def __init__(self, shared: _Shared, route: Route) -> None:
        if route.base is None or route.stored is None:
            raise ValueError("a tensor is computed from a stored one, in the form of the base's")
        self.shared = shared
        self.base = base = route.base
        self.start = route.stored
        self.parts = route.parts
        kinds = [base.kind, self.start.kind]
        for part in route.parts:
            for link in links(part.operand):
                kinds += [shared.taus.kind(link.from_tree, base.name)]
                kinds += [shared.taus.kind(link.to_tree, base.name)]
        self.dtype = float_type(*kinds)
        self.wide = np.dtype(np.float64) if base.kind == _F32 else self.dtype
        self.overflowed = 0
        self.largest = 0.0

    def run(self, stop: Stop) -> Tensor:
        keys, hasher = bytearray(), blake3()
        for index in range(self.base.block_count):
            stop.check()
            raw = self._block(BlockPlace(self.base, index, self.dtype))
            hasher.update(raw.data)
            keys += block_key(raw.data)
            self.shared.sink.put(self.base.name, index, raw)
            self.shared.crew.progress.advance(len(raw))
        base = self.base
        if self.overflowed:
            limit = largest_number(base.kind)
            found = Overflow(base.name, base.kind.name, self.overflowed, self.largest, limit)
            self.shared.overflows.append(found)
        return Tensor(base.name, base.kind, base.shape, hasher.digest(), bytes(keys))

    def _block(self, place: BlockPlace) -> Bytes:
        """The raw bytes of a block of the result."""
        taus, blocks = self.shared.taus, self.shared.blocks
        wide = replace(place, dtype=self.wide)
        acc = taus.numbers(self.start, wide, "acc")
        touched = blocks.buffer("touched", place.size)
        touched[:] = 0
        for part in self.parts:
            tau = taus.tau(part.operand, wide if _is_linear(part.operand) else place)
            if tau is not None:
                arithmetic.add(acc, part.scale, tau.astype(self.wide, copy=False), touched)
        out = blocks.buffer("computed", self.base.block_length(place.index))
        from_numbers(acc, self.base.kind, out)
        if self.start.kind == self.base.kind:
            stored = blocks.elements(self.start, place.index * BLOCK_BYTES, len(out))
            keep_untouched(stored, self.start.kind, touched, out)
        if has_nonfinite(out, self.base.kind):
            self._note_overflow(wide, acc, out)
        return out

    def _note_overflow(self, place: BlockPlace, acc: Floats, out: Bytes) -> None:
        numbers = np.empty(place.size, place.dtype)
        to_numbers(out, self.base.kind, numbers)
        found = overflowed(self.shared.taus, self.parts, self.start, place, numbers)
        if found.any():
            self.overflowed += int(np.count_nonzero(found))
            sizes = np.abs(acc[found])
            self.largest = max(self.largest, float(np.where(np.isnan(sizes), np.inf, sizes).max()))


def _is_linear(operand: Operand) -> bool:
    """Whether a tau is a sum of differences, so that nothing but sums is rounded in it."""
    return isinstance(operand, Link) or (
        operand.rule.method is SUM.method
        and all(_is_linear(part.operand) for part in operand.parts)
    )
