"""The codec: one block of numbers to its stored form and back, exactly.

To encode a block against the block of the base that it lies against:

1. read both as integers in the order of their values, and subtract: small numbers remain;
2. order these by the exponent of the base's element, so that numbers of one size lie together;
3. split them into byte planes, and compress the planes with zstd.

Decoding is the same backwards, and ends with a comparison of the block's key.  A block without a
base is split and compressed alone; one that does not shrink is stored raw.  The loops are compiled
by `pvc.jit`.  Called by `pvc.repo.trees` and `pvc.repo.build`; `pvc.merge` uses its numbers.
Limits: little-endian machines.  The stored forms: docs/format/block.md.

Tests: tests/codec/.
"""

from pvc.codec.base import BaseBlock, base_place, can_be_base
from pvc.codec.block import decode, encode
from pvc.codec.change import ChangeSums, element_count, measure, same
from pvc.codec.sides import SideCounts, count_sides

__all__ = [
    "BaseBlock",
    "ChangeSums",
    "SideCounts",
    "base_place",
    "can_be_base",
    "count_sides",
    "decode",
    "element_count",
    "encode",
    "measure",
    "same",
]
