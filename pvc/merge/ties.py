"""TIES of k task vectors: trim, elect a sign, average what agrees with it (arXiv 2306.01708).

For each element, with v_j = vote_j * tau_j, in float64:

    kept      |tau_j| >= threshold_j and tau_j != 0
    mass      the sum of the kept v_j, in order
    elected   the sign of the mass; where it is 0 although something was kept, the sign for that
    result    factor * sum of share_j * v_j / sum of weight_j, over the kept v_j that have the
              elected sign; a divisor of 0 is taken as 1; 0 where nothing was kept

A v_j of 0 counts for nothing.  A NaN among the taus, or a mass that is NaN, makes the result NaN.
Vote, share and weight follow from the dialect: see `pvc.merge.ties_dialects`.  By the authors' rule
the vote is the scale, share and weight are 1, and a zero mass has the majority sign of the model:
it divides by a number of vectors, so that a negated vector stays negated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pvc.codec.buffers import room
from pvc.codec.kernels import STRIP
from pvc.jit.decorator import jit
from pvc.merge.ties_dialects import AUTHORS, Dialect, trimming

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc.codec.numbers import Floats
    from pvc.merge.method import Rule, TauBlock

# Rows that lie a multiple of 4 KiB apart would evict each other.
APART = 40


class Terms(NamedTuple):
    """Scales and thresholds of the k vectors, each of shape (k,), and the dialect."""

    scales: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    dialect: Dialect = AUTHORS

    @property
    def rates(self) -> NDArray[np.float64]:
        """Shape (k, 3): vote, share and weight of each."""
        found = [self.dialect.rates(scale) for scale in self.scales.tolist()]
        return np.array(found).reshape(-1, 3)


def merge(block: TauBlock, rule: Rule, out: Floats) -> None:
    """Write the merged block; see `pvc.merge.method.Kernel`."""
    thresholds = np.array(block.facts.thresholds)
    terms = Terms(block.scales, thresholds, trimming(rule).dialect)
    combine(block.taus, terms, rule.number("lambda"), block.facts.zero_sum, out)


def combine(taus: Floats, terms: Terms, factor: float, undecided: int, out: Floats) -> None:
    """Write the merged block, rounded once from float64 to the type of `out`.

    Args:
        taus: shape (k, n).
        terms: the scales and thresholds of the k vectors.
        factor: what the mean is multiplied by.
        undecided: the sign where the mass is 0, +1 or -1; see `pvc.merge.ties_votes.majority`.
        out: receives n numbers.

    Raises:
        ValueError: the shapes do not fit.
    """
    check(taus, terms, out.size)
    cuts = cuts_of(terms.thresholds, taus.dtype)
    factors = float(factor), float(undecided)
    strips = room(4 + len(taus), STRIP + APART, np.float64)
    _combine(keepable(taus, cuts), cuts, terms.rates, factors, (out, strips))


def cuts_of(thresholds: NDArray[np.float64], dtype: np.dtype[np.floating[Any]]) -> Floats:
    """What magnitudes of a float type are compared with: for each threshold three numbers.

    They are the least number at or above it, the threshold itself (NaN if the type does not have
    it), and the least number above 0 that is at or above it.
    """
    near = thresholds.astype(dtype)
    least = np.where(near < thresholds, np.nextafter(near, dtype.type(np.inf)), near)
    level = np.where(near == thresholds, near, dtype.type(np.nan))
    return np.stack([least, level, np.maximum(least, np.finfo(dtype).smallest_subnormal)], axis=1)


def keepable(taus: Floats, cuts: Floats) -> Floats:
    """The taus, without those that are not kept although they are not below the cut.

    Below NaN, the threshold of a vector that is NaN for the most part, is nothing; yet only NaN is
    kept then.
    """
    odd = np.isnan(cuts[:, 0])
    if not odd.any():
        return taus
    kept: Floats = np.where(odd[:, None] & ~np.isnan(taus), taus.dtype.type(0), taus)
    return kept


def check(taus: Floats, terms: Terms, n: int) -> None:
    """Make sure that shapes fit; raises as `combine`."""
    k, cuts = terms.scales.size, terms.thresholds.size
    if taus.shape != (k, n) or cuts != k:
        shapes = f"{taus.shape}, {k} scales and {cuts} thresholds"
        raise ValueError(f"taus of {shapes} do not fit {n} elements")


@jit
def _combine(
    taus: Floats,
    cuts: Floats,
    rates: NDArray[np.float64],
    factor_and_tied: tuple[float, float],
    out_and_strips: tuple[Floats, NDArray[np.float64]],
) -> None:
    """See `combine`; there are k + 4 strips to work in."""
    k = taus.shape[0]
    factor, tied = factor_and_tied
    out, strips = out_and_strips
    zero = out.dtype.type(0)
    mass, sign, total, divisor, values = strips[0], strips[1], strips[2], strips[3], strips[4:]
    for start in range(0, out.size, STRIP):
        written = out[start : start + STRIP]
        n = written.size
        mass[:] = total[:] = divisor[:] = 0.0
        for j in range(k):
            tau, value = taus[j, start : start + n], values[j]
            vote, cut = rates[j, 0], cuts[j, 0]
            for i in range(n):
                value[i] = vote * np.float64(zero if abs(tau[i]) < cut else tau[i])
                mass[i] += value[i]
        for i in range(n):
            side = mass[i] if mass[i] != 0.0 else tied
            sign[i] = 1.0 if side > 0.0 else -1.0
        for j in range(k):
            value, share, weight = values[j], rates[j, 1], rates[j, 2]
            for i in range(n):
                agreed = value[i] * sign[i]
                total[i] += share * max(agreed, 0.0)
                divisor[i] += weight if agreed > 0.0 else 0.0
        for i in range(n):
            mean = sign[i] * total[i] / (divisor[i] if divisor[i] != 0.0 else 1.0)
            mean = factor * mean if total[i] != 0.0 else 0.0
            written[i] = mass[i] if np.isnan(mass[i]) else mean
