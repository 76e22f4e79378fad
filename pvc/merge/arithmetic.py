"""Differences and sums of task vectors, as in Task Arithmetic (arXiv 2212.04089).

Limits: an element that changes only from -0 to +0 has no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pvc.codec.buffers import BUFFERS
from pvc.codec.kernels import STRIP
from pvc.jit.decorator import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc.codec.elements import Words
    from pvc.codec.kernels import StripPair
    from pvc.codec.numbers import Floats


def difference(result: Words, origin: Words, out: Floats) -> None:
    """Write `result - origin`, exactly 0 wherever both have the same bits, be they Inf or NaN.

    Args:
        result: the bits of n numbers of the type of `out`; of words that are narrower, as those of
            bfloat16 are than float32, the lower bits are 0.
        origin: as many, perhaps of another width.
        out: receives n numbers; shares no memory with the others.

    Raises:
        ValueError: the sizes differ, or words are wider than the numbers.
    """
    for words in (result, origin):
        if words.size != out.size or words.itemsize > out.itemsize:
            raise ValueError(
                f"{words.size} words of {words.dtype} are not {out.size} of {out.dtype}"
            )
    scales = 1 << 8 * (out.itemsize - result.itemsize), 1 << 8 * (out.itemsize - origin.itemsize)
    _difference(result, origin, scales, BUFFERS.strips[out.itemsize], out)


def add(acc: Floats, scale: float, tau: Floats, touched: NDArray[np.uint8]) -> None:
    """Add `scale * tau` to `acc` in place, and set `touched` to 1 where anything was added.

    The product is rounded to the float type before it is added.  An element whose product is 0 is
    left as it is, -0 included.

    Args:
        acc: n numbers.
        scale: what `tau` is multiplied by, in float64.
        tau: n numbers of the same float type.
        touched: n flags; those of other elements keep their values.

    Raises:
        ValueError: the sizes or types differ.
    """
    if (acc.size, acc.dtype) != (tau.size, tau.dtype):
        raise ValueError(f"{tau.size} elements of {tau.dtype} are not {acc.size} of {acc.dtype}")
    if touched.size != acc.size:
        raise ValueError(f"{touched.size} flags are not one for each of {acc.size} elements")
    _add(acc, _factor(scale, acc.dtype), tau, touched)


def combine(taus: Floats, scales: NDArray[np.float64], factor: float, out: Floats) -> None:
    """Write `factor * (scales[0] * taus[0] + scales[1] * taus[1] + ...)`.

    Computed in float64, in this order, and rounded once to the type of `out`.

    Args:
        taus: shape (k, n).
        scales: shape (k,).
        factor: what the sum is multiplied by.
        out: receives n numbers.

    Raises:
        ValueError: the shapes do not fit.
    """
    if taus.shape != (scales.size, out.size):
        raise ValueError(f"taus of {taus.shape} are not {scales.size} rows of {out.size} elements")
    _combine(taus, scales, float(factor), out, BUFFERS.strips[8][1][0])


@jit
def _difference(
    result: Words, origin: Words, scales: tuple[int, int], strip: StripPair, out: Floats
) -> None:
    """See `difference`; words times scales are those of `strip`, which has room for two rows."""
    bits, values = strip
    word, zero = bits.dtype.type, out.dtype.type(0)
    scale, origin_scale = word(scales[0]), word(scales[1])
    for start in range(0, out.size, STRIP):
        x = result[start : start + STRIP]
        y = origin[start : start + STRIP]
        written = out[start : start + STRIP]
        for i in range(x.size):
            bits[0, i] = np.multiply(word(x[i]), scale)
        for i in range(y.size):
            bits[1, i] = np.multiply(word(y[i]), origin_scale)
        for i in range(written.size):
            distance = values[0, i] - values[1, i]
            written[i] = distance if bits[0, i] != bits[1, i] else zero


def _factor(scale: float, dtype: np.dtype[np.floating[Any]]) -> Floats:
    """A scale as a number of the type in which its products are rounded as in float64.

    float64 has the product of two numbers of float32 exactly: to round that is to multiply them in
    float32.
    """
    with np.errstate(over="ignore"):
        factor = np.array([scale], dtype)
    return factor if factor.item() == scale else np.array([scale], np.float64)


@jit
def _add(acc: Floats, scale: Floats, tau: Floats, touched: NDArray[np.uint8]) -> None:
    number, factor = tau.dtype.type, scale.dtype.type
    zero, nothing = number(0.0), number(-0.0)  # x + -0 is x, also where x is -0
    for i in range(acc.size):
        product = number(scale[0] * factor(tau[i]))
        acc[i] += product if product != zero else nothing
        touched[i] |= np.uint8(product != zero)


@jit
def _combine(
    taus: Floats,
    scales: NDArray[np.float64],
    factor: float,
    out: Floats,
    sums: NDArray[np.float64],
) -> None:
    """See `combine`; `sums` has room for a strip."""
    for start in range(0, out.size, STRIP):
        written = out[start : start + STRIP]
        n = written.size
        sums[:] = 0
        for j in range(scales.size):
            tau = taus[j, start : start + n]
            scale = scales[j]
            for i in range(n):
                sums[i] += scale * np.float64(tau[i])
        for i in range(n):
            written[i] = factor * sums[i]
