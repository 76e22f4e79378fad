"""The loops between a block's words and floating-point numbers.

Integer arithmetic only, so that every bit is the same on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pvc.jit.decorator import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc.codec.elements import FloatFormat, Words


@jit
def extend(narrow: Words, bits: int, wide: Words) -> None:
    """Append zero bits to every word."""
    for i in range(wide.size):
        wide[i] = narrow[i]
        wide[i] = wide[i] << bits


@jit
def shorten(wide: Words, bits: int, infinity: int, nan: int, narrow: Words) -> None:
    """Drop the lowest bits of every float, rounded to nearest, ties to even.

    Args:
        wide: floats of a format that extends that of `narrow`.
        bits: how many bits are dropped, at least 1.
        infinity: magnitude of Inf in `wide`.
        nan: the pattern that every NaN becomes.
        narrow: receives the rounded floats.
    """
    word = wide.dtype.type
    largest, by, one = word(np.iinfo(wide.dtype).max), word(bits), word(1)
    half, special, other = word((1 << (bits - 1)) - 1), word(infinity), word(nan)
    for i in range(wide.size):
        value = wide[i]  # a carry reaches the sign of a NaN only
        odd = word(np.bitwise_and(np.right_shift(value, by), one))
        rounded = word(np.right_shift(word(value + word(half + odd)), by))
        size = word(np.bitwise_and(value, largest))
        narrow[i] = other if size > special else rounded


@jit
def round_to(
    wide: Words,
    wide_format: FloatFormat,
    narrow: Words,
    narrow_format: FloatFormat,
    specials: tuple[int, int],
) -> None:
    """Round floats to a narrower format, to nearest, ties to even.

    Args:
        wide: words of an IEEE format.
        wide_format: that format.
        narrow: receives the rounded floats.
        narrow_format: their format.
        specials: the magnitude that Inf, and what rounds beyond the largest number, becomes; and
            the pattern that every NaN becomes.
    """
    overflow, nan = specials
    top = np.iinfo(wide.dtype).bits - 1
    narrow_top = np.iinfo(narrow.dtype).bits - 1
    drop = wide_format.mantissa_bits - narrow_format.mantissa_bits
    bias = narrow_format.bias - wide_format.bias
    hidden = np.int64(1) << wide_format.mantissa_bits
    for i in range(wide.size):
        bits = np.int64(wide[i])
        sign = (bits >> top) & 1
        size = bits & ((np.int64(1) << top) - 1)
        exponent = size >> wide_format.mantissa_bits
        fraction = size & (hidden - 1)
        if exponent > 0:
            fraction |= hidden
        else:
            exponent += 1
        exponent += bias
        shift = np.int64(drop)
        if exponent >= 1:
            value = ((exponent - 1) << wide_format.mantissa_bits) + fraction
        else:
            value = fraction
            shift = min(drop + 1 - exponent, np.int64(62))
        if shift > 0:
            value += (np.int64(1) << (shift - 1)) - 1 + ((value >> shift) & 1)
            value >>= shift
        if size > wide_format.special:
            narrow[i] = nan
            continue
        if size == wide_format.special or value >= narrow_format.special:
            value = np.int64(overflow)
        if value == 0 and not narrow_format.has_negative_zero:
            sign = np.int64(0)
        narrow[i] = value | (sign << narrow_top)


@jit
def find_special(words: Words, magnitude: int, special: int, found: NDArray[np.uint8]) -> None:
    """Set `found[0]` to 1 if any word, cut to the bits of `magnitude`, is `special` or more."""
    word = words.dtype.type
    bits, least = word(magnitude), word(special)
    any_of_them = np.uint8(0)
    for i in range(words.size):
        any_of_them |= np.uint8(word(words[i] & bits) >= least)
    found[0] = any_of_them


@jit
def restore_untouched(start: Words, touched: NDArray[np.uint8], out: Words) -> None:
    """Give every element that was not touched the bits that it had at the start."""
    word = out.dtype.type
    for i in range(out.size):
        kept = word(-word(touched[i] != 0))  # all bits of a touched one
        out[i] = word(out[i] & kept) | word(start[i] & ~kept)
