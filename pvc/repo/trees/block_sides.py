"""A block of a result beside the same elements of two stored tensors, in the result's dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.codec import SideCounts, count_sides
from pvc.codec.numbers import is_real
from pvc.repo.trees.rounded_elements import rounded_elements
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    from pvc.repo.trees.blocks import Blocks
    from pvc.repo.trees.changes import RawBlock
    from pvc_store.tree import Tensor


def block_sides(
    blocks: Blocks, block: RawBlock, index: int, base: Tensor, other: Tensor
) -> SideCounts:
    """Which elements of a block are those of the base, and which another tree's.

    Args:
        blocks: gives the stored elements.
        block: the block of the result.
        index: which one of its tensor it is.
        base: the base's tensor, of the same shape.
        other: the other tree's, of the same shape.

    Returns:
        The counts, `one` for the base and `two` for the other; none where kinds differ that cannot
        be converted.
    """
    if base.kind == other.kind == block.kind:
        return _alike(blocks, block, index, base, other)
    if not all(map(is_real, (base.kind, other.kind, block.kind))):
        return SideCounts()
    counts = SideCounts()
    width = block.kind.bits // 8
    piece = BLOCK_BYTES // max(8, width) * width  # whatever it is widened to is at most a block
    for start in range(0, len(block.raw), piece):
        part = block.raw[start : start + piece]
        at, count = (index * BLOCK_BYTES + start) // width, len(part) // width
        one = rounded_elements(blocks, base, at, count, block.kind)
        two = rounded_elements(blocks, other, at, count, block.kind)
        counts += count_sides(one, two, part, block.kind)
    return counts


def _alike(blocks: Blocks, block: RawBlock, index: int, base: Tensor, other: Tensor) -> SideCounts:
    if base.key(index) == other.key(index):
        if block.key == base.key(index):
            return SideCounts()
        one = two = blocks.base_block(base, index)
    else:
        two = blocks.buffer("other", len(block.raw))
        blocks.read(other, index, two)
        one = blocks.base_block(base, index)  # after `read`, which may replace it
    return count_sides(one, two, block.raw, block.kind)
