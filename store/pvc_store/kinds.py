"""Numeric kinds: how the bytes of a block are to be read as numbers.

Names are the dtype names of the safetensors format; codes are what packs store, and never change.
`BYTES` is the kind of files that hold no tensors.  The store does no arithmetic: it only needs to
know how many bytes a tensor has.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A numeric kind; there is one object for each, so that they are compared by identity.

    Attributes:
        name: dtype name of the safetensors format.
        code: the byte that stands for it in a pack.
        bits: bits of one element.
    """

    name: str
    code: int
    bits: int

    def bytes_of(self, shape: tuple[int, ...]) -> int:
        """Bytes of a dense tensor of this kind and shape; sub-byte kinds are packed."""
        return (prod(shape) * self.bits + 7) // 8


BYTES = Kind("BYTES", 0, 8)

_TENSOR_KINDS = (
    Kind("BOOL", 1, 8),
    Kind("U8", 2, 8),
    Kind("I8", 3, 8),
    Kind("U16", 4, 16),
    Kind("I16", 5, 16),
    Kind("U32", 6, 32),
    Kind("I32", 7, 32),
    Kind("U64", 8, 64),
    Kind("I64", 9, 64),
    Kind("BF16", 16, 16),
    Kind("F16", 17, 16),
    Kind("F32", 18, 32),
    Kind("F64", 19, 64),
    Kind("C64", 20, 64),
    Kind("F8_E4M3", 32, 8),
    Kind("F8_E5M2", 33, 8),
    Kind("F8_E4M3FNUZ", 34, 8),
    Kind("F8_E5M2FNUZ", 35, 8),
    Kind("F8_E8M0", 36, 8),
    Kind("F6_E2M3", 37, 6),
    Kind("F6_E3M2", 38, 6),
    Kind("F4", 39, 4),
)

KIND_BY_NAME = {kind.name: kind for kind in _TENSOR_KINDS}
KIND_BY_CODE = {kind.code: kind for kind in (BYTES, *_TENSOR_KINDS)}
