"""The loops over a block.

`Words` are int8, int16, int32 or int64, as wide as one element, and each kernel is compiled for
the widths that are met.  numba computes in 64 bits unless told otherwise: every step is narrowed
to the word type again, so that as many words as possible fit into a vector.

Limits: no kernel checks lengths; `pvc.codec.block` and `pvc.codec.change` do.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pvc.codec.elements import FloatFormat, Numbers, Words
from pvc.jit.decorator import jit

# A little less than a quarter: lanes that lie a multiple of 4 KiB apart would evict each other.
LANE_PERMILLE = 248

SUMS = 256
STRIP = 4 * SUMS

StripPair: TypeAlias = tuple[Words, Numbers]
Sums: TypeAlias = NDArray[np.float64]


@jit
def keys_of(base: Words, shift: int, mask: int, keys: NDArray[np.uint8]) -> None:
    """Write the key of every word, `(base >> shift) & mask`."""
    word = base.dtype.type
    by, kept = word(shift), word(mask)
    for i in range(base.size):
        keys[i] = np.uint8(np.bitwise_and(np.right_shift(base[i], by), kept))


@jit
def key_starts(keys: NDArray[np.uint8], starts: NDArray[np.uint32]) -> None:
    """Write where the elements of each key start in the order of keys.

    The first step of a counting sort.  Four lanes of the block are counted side by side, because
    a run of equal keys in a single lane would make each step wait for the one before.

    Args:
        keys: the key of each element.
        starts: shape (256, 4); receives a row for each key, with a start for each lane.
    """
    starts[:] = 0
    lane = keys.size * LANE_PERMILLE // 1000
    for i in range(lane):
        for j in range(4):
            starts[keys[i + j * lane], j] += np.uint32(1)
    for i in range(4 * lane, keys.size):
        starts[keys[i], 3] += np.uint32(1)
    start = np.uint32(0)
    for k in range(256):
        for j in range(4):
            count = starts[k, j]
            starts[k, j] = start
            start += count


@jit
def order(
    keys: NDArray[np.uint8], starts: NDArray[np.uint32], positions: NDArray[np.uint32]
) -> None:
    """Write the place of every element in the stable order of keys, and use up `starts`."""
    lane = keys.size * LANE_PERMILLE // 1000
    for i in range(lane):
        for j in range(4):
            key = keys[i + j * lane]
            positions[i + j * lane] = starts[key, j]
            starts[key, j] += np.uint32(1)
    for i in range(4 * lane, keys.size):
        positions[i] = starts[keys[i], 3]
        starts[keys[i], 3] += np.uint32(1)


@jit
def scatter(words: Words, positions: NDArray[np.uint32], out: Words) -> None:
    """Move every word to its position."""
    for i in range(words.size):
        out[positions[i]] = words[i]


@jit
def gather(words: Words, positions: NDArray[np.uint32], out: Words) -> None:
    """Inverse of `scatter`."""
    for i in range(out.size):
        out[i] = words[positions[i]]


@jit
def difference(base: Words, new: Words, magnitude: int, out: Words) -> None:
    """Zig-zag of the difference of the ordered words, modulo their width."""
    word = out.dtype.type
    size, top, one = word(magnitude), word(np.iinfo(out.dtype).bits - 1), word(1)
    for i in range(out.size):
        a = base[i]
        b = new[i]
        distance = word(word(b ^ word(b >> top) & size) - word(a ^ word(a >> top) & size))
        out[i] = word(distance << one) ^ word(distance >> top)


@jit
def restore(base: Words, zigzag: Words, magnitude: int, out: Words) -> None:
    """Inverse of `difference`."""
    word = out.dtype.type
    size, top, one = word(magnitude), word(np.iinfo(out.dtype).bits - 1), word(1)
    largest = word(np.iinfo(out.dtype).max)
    for i in range(out.size):
        a = base[i]
        z = zigzag[i]
        distance = word(word(word(z >> one) & largest) ^ word(-word(z & one)))
        ordered = word(word(a ^ word(a >> top) & size) + distance)
        out[i] = ordered ^ word(ordered >> top) & size


@jit
def split(words: Words, planes: NDArray[np.uint8]) -> None:
    """Write the lowest bytes of all words, then their next bytes, and so on."""
    n = words.size
    for shift in range(0, np.iinfo(words.dtype).bits, 8):
        plane = planes[shift // 8 * n : (shift // 8 + 1) * n]
        for i in range(n):
            plane[i] = np.uint8(words[i] >> shift)


@jit
def join(planes: NDArray[np.uint8], words: Words) -> None:
    """Inverse of `split`."""
    n, word = words.size, words.dtype.type
    for start in range(0, n, STRIP):
        part = words[start : start + STRIP]
        part[:] = 0
        for at in range(start, planes.size, n):
            plane = planes[at : at + part.size]
            shift = word(at // n * 8)
            for i in range(part.size):
                part[i] = np.bitwise_or(part[i], np.left_shift(word(plane[i]), shift))


@jit
def widen(narrow: Words, narrow_format: FloatFormat, wide: Words, wide_format: FloatFormat) -> None:
    """Write floats in a wider format, or in the same, by integer arithmetic only."""
    top = np.iinfo(narrow.dtype).bits - 1
    wide_top = np.iinfo(wide.dtype).bits - 1
    grow = wide_format.mantissa_bits - narrow_format.mantissa_bits
    bias = wide_format.bias - narrow_format.bias
    hidden = np.int64(1) << narrow_format.mantissa_bits
    for i in range(narrow.size):
        bits = np.int64(narrow[i])
        sign = (bits >> top) & 1
        size = bits & ((np.int64(1) << top) - 1)
        exponent = size >> narrow_format.mantissa_bits
        fraction = size & (hidden - 1)
        if size >= narrow_format.special:
            value = wide_format.special | (fraction << grow)
        elif size == 0:
            value = size
            if sign and not narrow_format.has_negative_zero:
                value = wide_format.special | (hidden << (grow - 1))
        else:
            if exponent > 0:
                fraction |= hidden
            else:
                exponent += 1
                while fraction < hidden:
                    fraction <<= 1
                    exponent -= 1
            exponent += bias
            fraction <<= grow
            if exponent > 0:
                value = ((exponent - 1) << wide_format.mantissa_bits) + fraction
            else:
                value = fraction >> (1 - exponent)
        wide[i] = value | (sign << wide_top)


@jit
def float_squares(
    new: Words, base: Words, scales: tuple[int, int], strip: StripPair, sums: Sums
) -> None:
    """Count the floats that differ, and sum the squares of `new - base` and those of `base`.

    The arrays are taken strip by strip, and four elements of a strip go into each accumulator,
    always in this order: the compiler vectorises that without changing any sum.

    Args:
        new: floats, one word each.
        base: as many floats.
        scales: what the words of `new` and of `base` are multiplied by to get those of `strip`.
        strip: room for a strip of both; differences are rounded to its floats.
        sums: shape (3, SUMS); the first column receives the count and the two sums.
    """
    bits, values = strip
    word = bits.dtype.type
    scale, base_scale = word(scales[0]), word(scales[1])
    sums[:] = 0
    changed = np.int64(0)
    for start in range(0, new.size, STRIP):
        x = new[start : start + STRIP]
        y = base[start : start + STRIP]
        for i in range(x.size):
            bits[0, i] = np.multiply(word(x[i]), scale)
        for i in range(y.size):
            bits[1, i] = np.multiply(word(y[i]), base_scale)
        bits[:, x.size :] = 0
        differing = word(0)
        for i in range(STRIP):
            differing = word(differing + word(bits[0, i] != bits[1, i]))
        changed += np.int64(differing)
        for i in range(SUMS):
            tau_square = base_square = 0.0
            for j in range(4):
                tau = np.float64(values[0, i + j * SUMS] - values[1, i + j * SUMS])
                tau_square += tau * tau
                number = np.float64(values[1, i + j * SUMS])
                base_square += number * number
            sums[1, i] += tau_square
            sums[2, i] += base_square
    tau_square = base_square = 0.0
    for i in range(SUMS):
        tau_square += sums[1, i]
        base_square += sums[2, i]
    sums[0, 0], sums[1, 0], sums[2, 0] = changed, tau_square, base_square


@jit
def drop_nonfinite(new: Numbers, base: Numbers, dropped: NDArray[np.int64]) -> None:
    """Make `new - base` 0 where it is Inf or NaN, and `base` 0 where it is.

    Args:
        new: floats.
        base: as many floats.
        dropped: receives how many elements of `new` are Inf or NaN where `base` is not.
    """
    count = 0
    for i in range(new.size):
        if not np.isfinite(base[i]):
            base[i] = 0
            new[i] = 0
        elif not np.isfinite(new[i] - base[i]):
            count += not np.isfinite(new[i])
            new[i] = base[i]
    dropped[0] = count


@jit
def integer_squares(new: Numbers, base: Numbers, sums: Sums) -> None:
    """As `float_squares`, for integers; they are subtracted as float64."""
    sums[:] = 0
    changed = np.int64(0)
    for start in range(0, new.size, SUMS):
        x = new[start : start + SUMS]
        y = base[start : start + SUMS]
        differing = np.int16(0)
        for i in range(x.size):
            differing = np.int16(differing + np.int16(x[i] != y[i]))
        changed += np.int64(differing)
        for i in range(x.size):
            number = np.float64(y[i])
            tau = np.float64(x[i]) - number
            sums[1, i] += tau * tau
            sums[2, i] += number * number
    tau_square = base_square = 0.0
    for i in range(SUMS):
        tau_square += sums[1, i]
        base_square += sums[2, i]
    sums[0, 0], sums[1, 0], sums[2, 0] = changed, tau_square, base_square
