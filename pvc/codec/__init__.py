"""The codec: blocks to their stored form and back, exactly.

    elements   how the bytes of each numeric kind are read: words, order map, keys, float formats
    base       what a block is coded against, and where that lies in the base
    block      encode and decode one block
    change     are two blocks the same, and how far are they apart
    kernels    the loops
    jit        how they are called; compiled when that first happens
    signature  the types of their arguments
    compiler   a kernel to machine code, by numba
    machine    machine code, loaded and called
    kept       machine code in files
    scratch    the buffers of one thread

Importing this does not import numba; only compiling a kernel does, once on a machine.

Limits: little-endian machines.  The stored forms are described in docs/format/block.md.
"""

from pvc.codec.base import BaseBlock, BaseError, base_place, can_be_base
from pvc.codec.block import BlockPayloadError, ContentError, decode, encode
from pvc.codec.change import ChangeSums, element_count, measure, same

__all__ = [
    "BaseBlock",
    "BaseError",
    "BlockPayloadError",
    "ChangeSums",
    "ContentError",
    "base_place",
    "can_be_base",
    "decode",
    "element_count",
    "encode",
    "measure",
    "same",
]
