"""Changes between two trees, tensor by tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc import parallel
from pvc.codec import ChangeSums, element_count, measure
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from pvc.parallel import Crew, Stop
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.kinds import Kind
    from pvc_store.tree import Tensor, Tree


@dataclass(frozen=True, slots=True)
class RawBlock:
    """A block's bytes, how to read them, and their key."""

    raw: NDArray[np.uint8]
    kind: Kind
    key: bytes


@dataclass(frozen=True, slots=True)
class TensorChange:
    """One tensor in two trees.

    Attributes:
        before: the tensor in the one, or None.
        after: the tensor in the other, or None.
        change: sums over the elements; where the shapes differ, every element counts as changed and
            the norms are 0, since there is no tau.
        changed_blocks: blocks of `after` that differ.
    """

    before: Tensor | None
    after: Tensor | None
    change: ChangeSums
    changed_blocks: int

    @property
    def tensor(self) -> Tensor:
        """The tensor as it is afterwards, or as it was if it is gone."""
        found = self.after or self.before
        if found is None:
            raise ValueError("a change needs a tensor")
        return found

    @property
    def sort(self) -> str:
        """One of "same", "changed", "added", "removed", "reshaped"."""
        if self.before is None:
            return "added"
        if self.after is None:
            return "removed"
        if self.before.shape != self.after.shape:
            return "reshaped"
        return "changed" if self.changed_blocks else "same"


def compare(before: Tree, after: Tree, blocks: Blocks, crew: Crew) -> tuple[TensorChange, ...]:
    """Every tensor of two stored trees, sorted by name.

    Raises:
        DamageError, MissingError: a block is missing or damaged.
    """
    names = sorted(set(before) | set(after))
    crew.progress.start("Comparing", sum((after.get(n) or before[n]).nbytes for n in names))
    found: dict[str, TensorChange] = {}

    def one(name: str, stop: Stop) -> None:
        found[name] = _tensor(before.get(name), after.get(name), blocks, stop, crew)

    parallel.run(names, one, crew.threads)
    return tuple(found[name] for name in names)


def _tensor(
    before: Tensor | None, after: Tensor | None, blocks: Blocks, stop: Stop, crew: Crew
) -> TensorChange:
    if before is None or after is None or before.shape != after.shape:
        whole = TensorChange(before, after, ChangeSums(), 0).tensor
        elements = element_count(whole.nbytes, whole.kind)
        crew.progress.advance(whole.nbytes)
        return TensorChange(before, after, ChangeSums(elements, elements), whole.block_count)
    changes, changed_blocks = [], 0
    for index in range(after.block_count):
        stop.check()
        raw = blocks.buffer("after", after.block_length(index))
        blocks.read(after, index, raw)
        block = RawBlock(raw, after.kind, after.key(index))
        change, differs = block_change(blocks, block, index, before)
        changes.append(change)
        changed_blocks += differs
        crew.progress.advance(len(raw))
    return TensorChange(before, after, total(changes), changed_blocks)


def block_change(
    blocks: Blocks, block: RawBlock, index: int, before: Tensor
) -> tuple[ChangeSums, bool]:
    """How far a block is from the same elements of a stored tensor, and whether it differs.

    Args:
        blocks: gives the stored elements.
        block: the block.
        index: which one of its tensor it is.
        before: the stored tensor, of the same shape.
    """
    raw, kind, old = block.raw, block.kind, before.kind
    if _is_same(block, index, before):
        return measure(raw, kind, raw, kind), False
    changes = []
    piece = min(BLOCK_BYTES, BLOCK_BYTES * kind.bits // old.bits)
    for start in range(0, len(raw), piece):
        part = raw[start : start + piece]
        at = (index * BLOCK_BYTES + start) * old.bits // kind.bits
        stored = blocks.elements(before, at, len(part) * old.bits // kind.bits)
        changes.append(measure(part, kind, stored, old))
    change = total(changes)
    return change, old == kind or change.changed > 0


def _is_same(block: RawBlock, index: int, before: Tensor) -> bool:
    """Whether a stored tensor has the same block at the same place."""
    return before.kind == block.kind and before.key(index) == block.key


def total(changes: Iterable[ChangeSums]) -> ChangeSums:
    """The sum of changes, correctly rounded and so independent of their order.

    Sums of squares that exceed float64 are infinite.
    """
    listed = list(changes)
    if len(listed) == 1:
        return listed[0]
    return ChangeSums(
        elements=sum(change.elements for change in listed),
        changed=sum(change.changed for change in listed),
        tau_square=_sum(change.tau_square for change in listed),
        base_square=_sum(change.base_square for change in listed),
        nonfinite=sum(change.nonfinite for change in listed),
    )


def _sum(squares: Iterable[float]) -> float:
    try:
        return math.fsum(squares)
    except OverflowError:
        return math.inf
