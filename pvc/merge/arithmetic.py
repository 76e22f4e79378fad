"""Differences and sums of task vectors, as in Task Arithmetic (arXiv 2212.04089).

Limits: an element that changes only from -0 to +0 has no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pvc.codec.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc.codec.numbers import Floats

STRIP = 1024


def difference(result: Floats, origin: Floats, out: Floats) -> None:
    """Write `result - origin`, exactly 0 wherever both have the same bits, be they Inf or NaN.

    Args:
        result: n numbers.
        origin: n numbers.
        out: receives n numbers; all three are of one float type, and share no memory.

    Raises:
        ValueError: the sizes or types differ.
    """
    _check_alike(result, origin, out)
    bits = np.dtype(f"i{out.itemsize}")
    _difference(result, result.view(bits), origin, origin.view(bits), out)


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
    _check_alike(acc, tau)
    if touched.size != acc.size:
        raise ValueError(f"{touched.size} flags are not one for each of {acc.size} elements")
    _add(acc, float(scale), tau, touched)


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
    _combine(taus, scales, float(factor), out)


def _check_alike(first: Floats, *others: Floats) -> None:
    for other in others:
        if (other.size, other.dtype) != (first.size, first.dtype):
            raise ValueError(
                f"{other.size} elements of {other.dtype} are not {first.size} of {first.dtype}"
            )


@jit
def _difference(
    result: Floats,
    result_bits: NDArray[np.signedinteger[Any]],
    origin: Floats,
    origin_bits: NDArray[np.signedinteger[Any]],
    out: Floats,
) -> None:
    zero = out.dtype.type(0)
    for i in range(out.size):
        distance = result[i] - origin[i]
        out[i] = distance if result_bits[i] != origin_bits[i] else zero


@jit
def _add(acc: Floats, scale: float, tau: Floats, touched: NDArray[np.uint8]) -> None:
    number = tau.dtype.type
    zero, nothing = number(0.0), number(-0.0)  # x + -0 is x, also where x is -0
    for i in range(acc.size):
        product = number(scale * np.float64(tau[i]))
        acc[i] += product if product != zero else nothing
        touched[i] |= np.uint8(product != zero)


@jit
def _combine(taus: Floats, scales: NDArray[np.float64], factor: float, out: Floats) -> None:
    sums = np.empty(STRIP)
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
