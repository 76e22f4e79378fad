"""The change between two blocks: none, or how large it is."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from pvc.codec import kernels
from pvc.codec.buffers import BUFFERS
from pvc.codec.elements import (
    FORMATS,
    REALS,
    Words,
    as_numbers,
    as_words,
    as_writable_words,
    elements_of,
)
from pvc_store.block import BLOCK_BYTES
from pvc_store.kinds import KIND_BY_NAME, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_F32 = KIND_BY_NAME["F32"]
_F64 = KIND_BY_NAME["F64"]
_INTEGERS = {
    KIND_BY_NAME[letter.upper() + str(bits)]: np.dtype(f"<{letter}{bits // 8}")
    for letter in "iu"
    for bits in (8, 16, 32, 64)
}

# From the C library, which needs no compiling and runs without the interpreter lock.
_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


@dataclass(frozen=True, slots=True)
class ChangeSums:
    """What distinguishes a block, or several, from their base; tau = new - base.

    Attributes:
        elements: number of elements.
        changed: how many have other bits; NaN may equal itself, and -0 is not 0.
        tau_square: sum of the squares of tau, over the elements where tau is finite.
        base_square: sum of the squares of the base, over its finite elements.
        nonfinite: elements that are Inf or NaN, and finite in the base.
    """

    elements: int = 0
    changed: int = 0
    tau_square: float = 0.0
    base_square: float = 0.0
    nonfinite: int = 0

    def __add__(self, other: ChangeSums) -> ChangeSums:
        return ChangeSums(
            self.elements + other.elements,
            self.changed + other.changed,
            self.tau_square + other.tau_square,
            self.base_square + other.base_square,
            self.nonfinite + other.nonfinite,
        )


def same(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """Whether two contiguous blocks have the same bytes; stops soon after the first difference."""
    return a.size == b.size and _memcmp(a.ctypes.data, b.ctypes.data, a.size) == 0


def element_count(length: int, kind: Kind) -> int:
    """How many elements `measure` counts in `length` bytes."""
    return length // elements_of(kind).word.itemsize


def measure(
    new: NDArray[np.uint8], kind: Kind, base: NDArray[np.uint8], base_kind: Kind
) -> ChangeSums:
    """Measure the change from a base's elements to a block's.

    Floats of any two kinds are compared as float32, or as float64 if one of them is F64; integers
    of one kind as float64.  Other kinds are compared byte by byte, and have no squares; where the
    kinds have nothing in common, all elements count as changed.  A complex number counts as two
    elements.  The result is the same on every machine.

    Args:
        new: bytes of the block.
        kind: numeric kind of its elements.
        base: bytes of as many elements of the base.
        base_kind: their numeric kind.

    Raises:
        ValueError: the numbers of elements differ.
    """
    elements = element_count(new.size, kind)
    if elements != element_count(base.size, base_kind):
        raise ValueError(
            f"{new.size} bytes of {kind.name} and {base.size} bytes of {base_kind.name} "
            "do not hold the same number of elements"
        )
    if {kind, base_kind} <= REALS or (kind == base_kind and kind in FORMATS):
        return _measure_floats(new, kind, base, base_kind)
    if kind != base_kind:
        return ChangeSums(elements, elements)
    if kind in _INTEGERS:
        return _measure_integers(new, base, _INTEGERS[kind])
    return ChangeSums(elements, int(np.count_nonzero(new != base)))


def _measure_integers(
    new: NDArray[np.uint8], base: NDArray[np.uint8], dtype: np.dtype[Any]
) -> ChangeSums:
    numbers = as_numbers(new, dtype)
    kernels.integer_squares(numbers, as_numbers(base, dtype), BUFFERS.sums)
    return ChangeSums(numbers.size, *_summed(BUFFERS.sums))


def _measure_floats(
    new: NDArray[np.uint8], kind: Kind, base: NDArray[np.uint8], base_kind: Kind
) -> ChangeSums:
    wide = _F64 if _F64 in {kind, base_kind} else _F32
    strip, sums = BUFFERS.strips[wide.bits // 8], BUFFERS.sums
    number = strip[1].dtype
    total = ChangeSums()
    for x, y in zip(_pieces(new, kind, wide), _pieces(base, base_kind, wide), strict=True):
        words, scale = _scaled(x, kind, wide, BUFFERS.front)
        base_words, base_scale = _scaled(y, base_kind, wide, BUFFERS.back)
        kernels.float_squares(words, base_words, (scale, base_scale), strip, sums)
        changed, tau_square, base_square = _summed(sums)
        nonfinite = np.zeros(1, np.int64)
        if not (isfinite(tau_square) and isfinite(base_square)):
            wide_x = _widened(x, kind, wide, BUFFERS.front)
            wide_y = _widened(y, base_kind, wide, BUFFERS.back)
            kernels.drop_nonfinite(wide_x.view(number), wide_y.view(number), nonfinite)
            words, base_words = as_words(wide_x, wide), as_words(wide_y, wide)
            kernels.float_squares(words, base_words, (1, 1), strip, sums)
            _, tau_square, base_square = _summed(sums)
        total += ChangeSums(words.size, changed, tau_square, base_square, int(nonfinite[0]))
    return total


def _summed(sums: kernels.Sums) -> tuple[int, float, float]:
    """How many elements differ, and the sums of squares of tau and of the base."""
    changed, tau_square, base_square = sums[:, 0].tolist()
    return int(changed), tau_square, base_square


def _pieces(raw: NDArray[np.uint8], kind: Kind, wide: Kind) -> Iterator[NDArray[np.uint8]]:
    """Cut a block into pieces that are no longer than BLOCK_BYTES when widened."""
    width = elements_of(kind).word.itemsize
    piece = BLOCK_BYTES * 8 // wide.bits * width
    return (raw[start : start + piece] for start in range(0, raw.size, piece))


def _scaled(
    raw: NDArray[np.uint8], kind: Kind, wide: Kind, buffer: NDArray[np.uint8]
) -> tuple[Words, int]:
    """Words, and what to multiply them by to get those of `wide`."""
    narrow_format, wide_format = FORMATS[kind], FORMATS[wide]
    if wide_format.extends(narrow_format):
        return as_words(raw, kind), 1 << (wide_format.mantissa_bits - narrow_format.mantissa_bits)
    return as_words(_widened(raw, kind, wide, buffer), wide), 1


def _widened(
    raw: NDArray[np.uint8], kind: Kind, wide: Kind, buffer: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    words = as_words(raw, kind)
    widened = buffer[: words.size * wide.bits // 8]
    wide_words = as_writable_words(widened, wide)
    kernels.widen(words, FORMATS[kind], wide_words, FORMATS[wide])
    return widened
