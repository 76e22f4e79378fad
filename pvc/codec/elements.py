"""Elements: how the bytes of each numeric kind are read as numbers.

The codec sees a block as *words*: signed integers as wide as one element.  What it knows of a kind:

    word        integer type of an element; a complex number is two words, a packed kind is bytes
    magnitude   bits below the sign, for kinds that store sign and magnitude; 0 for all others
    key         the bits of a base's element by which a delta is ordered; none for non-floats

The order map `w ^ ((w >> top) & magnitude)` turns floats into integers in the order of their
values; it is its own inverse, and the identity where `magnitude` is 0.

Tables and reasons: docs/format/block.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pvc_store.kinds import KIND_BY_NAME, Kind

Words: TypeAlias = NDArray[np.signedinteger[Any]]
Numbers: TypeAlias = NDArray[np.floating[Any] | np.integer[Any]]


class FloatFormat(NamedTuple):
    """A binary floating-point format: sign, exponent, mantissa, from the top bit down.

    Attributes:
        exponent_bits: bits of the exponent field.
        mantissa_bits: bits of the mantissa field.
        bias: what the exponent field exceeds the exponent by.
        special: smallest magnitude that is no finite number: Inf where there is one, else NaN.
        has_negative_zero: false where the pattern of -0 is the format's only NaN ("fnuz").
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int
    special: int
    has_negative_zero: bool = True

    @property
    def bits(self) -> int:
        """Bits of one number."""
        return 1 + self.exponent_bits + self.mantissa_bits

    def holds(self, other: FloatFormat) -> bool:
        """Whether every finite number of the narrower `other` is a number of this format."""
        return (
            self.bits > other.bits
            and self.mantissa_bits >= other.mantissa_bits
            and self._largest_exponent() >= other._largest_exponent()
            and self._smallest_exponent() <= other._smallest_exponent()
        )

    def extends(self, other: FloatFormat) -> bool:
        """Whether zero bits appended to any pattern of `other` give its value in this format."""
        return (
            (self.exponent_bits, self.bias) == (other.exponent_bits, other.bias)
            and self.mantissa_bits >= other.mantissa_bits
            and self.special == other.special << (self.mantissa_bits - other.mantissa_bits)
        )

    def _largest_exponent(self) -> int:
        return ((self.special - 1) >> self.mantissa_bits) - self.bias

    def _smallest_exponent(self) -> int:
        return 1 - self.bias - self.mantissa_bits


def _ieee(exponent_bits: int, mantissa_bits: int) -> FloatFormat:
    largest = (1 << exponent_bits) - 1
    return FloatFormat(exponent_bits, mantissa_bits, largest >> 1, largest << mantissa_bits)


FORMATS = {
    KIND_BY_NAME[name]: number
    for name, number in {
        "BF16": _ieee(8, 7),
        "F16": _ieee(5, 10),
        "F32": _ieee(8, 23),
        "F64": _ieee(11, 52),
        "C64": _ieee(8, 23),
        "F8_E5M2": _ieee(5, 2),
        "F8_E4M3": FloatFormat(4, 3, bias=7, special=0x7F),
        "F8_E4M3FNUZ": FloatFormat(4, 3, bias=8, special=0x80, has_negative_zero=False),
        "F8_E5M2FNUZ": FloatFormat(5, 2, bias=16, special=0x80, has_negative_zero=False),
    }.items()
}
# Kinds of real numbers, which may be widened and compared with each other.
REALS = {kind for kind, number in FORMATS.items() if kind.bits == number.bits}


@dataclass(frozen=True, slots=True)
class Elements:
    """How the codec reads the elements of a kind.

    Attributes:
        word: signed integer type, as wide as an element.
        magnitude: the bits that the order map flips below a set sign bit; 0 without an order map.
        key_shift: lowest bit of the key.
        key_mask: which bits of the shifted element are the key; 0 without a key.
    """

    word: np.dtype[np.signedinteger[Any]]
    magnitude: int = 0
    key_shift: int = 0
    key_mask: int = 0


@cache
def elements_of(kind: Kind) -> Elements:
    """How the elements of `kind` are read."""
    number = FORMATS.get(kind)
    if number is None:
        return Elements(np.dtype(f"<i{max(1, kind.bits // 8)}"))
    word = np.dtype(f"<i{number.bits // 8}")
    magnitude = (1 << (number.bits - 1)) - 1
    if number.bits == 8:
        return Elements(word, magnitude, number.mantissa_bits, (1 << number.exponent_bits) - 1)
    return Elements(word, magnitude, number.bits - 9, 0xFF)


def as_words(raw: NDArray[np.uint8], kind: Kind) -> Words:
    """See the bytes of a block as words, for reading."""
    words: Words = as_numbers(raw, elements_of(kind).word)
    return words


def as_numbers(raw: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """See bytes as numbers, for reading.

    A kernel is compiled for each type of array that it meets.  So all that are read by kernels
    are declared to be what some of them are: read-only.
    """
    numbers = raw.view(dtype)
    numbers.setflags(write=False)
    return numbers


def as_writable_words(buffer: NDArray[np.uint8], kind: Kind) -> Words:
    """See a buffer as words, for writing."""
    words: Words = buffer.view(elements_of(kind).word)
    return words
