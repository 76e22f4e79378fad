"""TIES of k task vectors: trim, elect a sign, average what agrees with it (arXiv 2306.01708).

For each element, with v_j = scale_j * tau_j, in float64:

    kept      |tau_j| >= threshold_j and tau_j != 0
    mass      the sum of the kept v_j, in order
    elected   the sign of the mass; where it is 0 although something was kept, the majority sign
    result    factor * mean of the kept v_j that have the elected sign; 0 where nothing was kept

A v_j of 0 counts for nothing.  A NaN among the taus, or a mass that is NaN, makes the result NaN.
The mean divides by a number of vectors, never by scales, so that a negated vector stays negated.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pvc.codec.jit import jit

if TYPE_CHECKING:
    from pvc.codec.numbers import Floats

Table: TypeAlias = NDArray[np.int64]
Signs: TypeAlias = NDArray[np.int8]

STRIP = 1024
# Beside the signs -1 and +1, and 0 where nothing is elected.
UNDECIDED = 2


class Terms(NamedTuple):
    """What the k vectors are trimmed by and scaled with, each of shape (k,)."""

    scales: NDArray[np.float64]
    thresholds: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """How the elements of some blocks were elected.

    Attributes:
        positive: elements whose mass is above 0.
        negative: elements whose mass is below 0.
        undecided: elements whose mass is 0 although something was kept.
        below: shape (k,), how many elements of each vector are smaller than its threshold.
        tied: shape (k,), how many are exactly as large.
        kept: shape (k,), how many elements of each vector were kept.
        outvoted: shape (k,), how many of those have the losing sign, undecided ones left aside.
        conflicts: shape (k, k), symmetric: where both were kept and have opposite signs.
    """

    positive: int
    negative: int
    undecided: int
    below: Table
    tied: Table
    kept: Table
    outvoted: Table
    conflicts: Table

    @classmethod
    def none(cls, k: int) -> Tally:
        """That of no blocks of `k` vectors."""
        below, tied, kept, outvoted = np.zeros((4, k), np.int64)
        return cls(0, 0, 0, below, tied, kept, outvoted, np.zeros((k, k), np.int64))

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Tally)))


def majority(positive: int, negative: int) -> int:
    """The sign for undecided elements, +1 or -1: that of the sum of all elected signs.

    Where that is 0 too, the authors' comparisons keep the negative ones.
    """
    return 1 if positive > negative else -1


def combine(taus: Floats, terms: Terms, factor: float, undecided: int, out: Floats) -> None:
    """Write the merged block, rounded once from float64 to the type of `out`.

    Args:
        taus: shape (k, n).
        terms: the scales and thresholds of the k vectors.
        factor: what the mean is multiplied by.
        undecided: the sign where the mass is 0, +1 or -1; see `majority`.
        out: receives n numbers.

    Raises:
        ValueError: the shapes do not fit.
    """
    _check(taus, terms, out.size)
    _combine(taus, terms, float(factor), undecided, out)


def tally(taus: Floats, terms: Terms) -> Tally:
    """Count how the elements of a block are elected.

    Args:
        taus: shape (k, n).
        terms: the scales and thresholds of the k vectors.

    Raises:
        ValueError: the shapes do not fit.
    """
    k, n = taus.shape
    _check(taus, terms, n)
    sizes, outvoted = np.zeros((3, k), np.int64), np.zeros(k, np.int64)
    signs, conflicts = np.zeros(3, np.int64), np.zeros((k, k), np.int64)
    votes, elected = np.empty((k, n), np.int8), np.empty(n, np.int8)
    _measure(taus, _cuts(terms.thresholds, taus.dtype), sizes)
    _vote(taus, terms, votes, elected)
    _count(votes, elected, signs, outvoted, conflicts)
    positive, negative, undecided = signs.tolist()
    below, tied, kept = sizes
    return Tally(positive, negative, undecided, below, tied, kept, outvoted, conflicts)


def _cuts(thresholds: NDArray[np.float64], dtype: np.dtype[np.floating[Any]]) -> Floats:
    """What magnitudes of a float type are compared with: for each threshold three numbers.

    They are the least number at or above it, the threshold itself (NaN if the type does not have
    it), and the least number above 0 that is at or above it.
    """
    near = thresholds.astype(dtype)
    least = np.where(near < thresholds, np.nextafter(near, dtype.type(np.inf)), near)
    level = np.where(near == thresholds, near, dtype.type(np.nan))
    return np.stack([least, level, np.maximum(least, np.finfo(dtype).smallest_subnormal)], axis=1)


def _check(taus: Floats, terms: Terms, n: int) -> None:
    k, cuts = terms.scales.size, terms.thresholds.size
    if taus.shape != (k, n) or cuts != k:
        shapes = f"{taus.shape}, {k} scales and {cuts} thresholds"
        raise ValueError(f"taus of {shapes} do not fit {n} elements")


@jit
def _combine(taus: Floats, terms: Terms, factor: float, undecided: int, out: Floats) -> None:
    k = taus.shape[0]
    values = np.empty((k, STRIP))
    tied = np.float64(undecided)
    mass, sign, total, number = np.empty((4, STRIP))
    for start in range(0, out.size, STRIP):
        written = out[start : start + STRIP]
        n = written.size
        mass[:] = total[:] = number[:] = 0.0
        for j in range(k):
            tau, value = taus[j, start : start + n], values[j]
            scale, threshold = terms.scales[j], terms.thresholds[j]
            for i in range(n):
                wide = np.float64(tau[i])
                value[i] = scale * wide if (abs(wide) >= threshold) | np.isnan(wide) else 0.0
                mass[i] += value[i]
        for i in range(n):
            side = mass[i] if mass[i] != 0.0 else tied
            sign[i] = 1.0 if side > 0.0 else -1.0
        for j in range(k):
            value = values[j]
            for i in range(n):
                agreed = value[i] * sign[i]
                total[i] += max(agreed, 0.0)
                number[i] += np.float64(agreed > 0.0)
        for i in range(n):
            mean = sign[i] * total[i] / (number[i] if number[i] > 0.0 else 1.0)
            mean = factor * mean if number[i] > 0.0 else 0.0
            written[i] = mass[i] if np.isnan(mass[i]) else mean


@jit
def _measure(taus: Floats, cuts: Floats, sizes: Table) -> None:
    """Count the elements of each vector that are below, tied and kept."""
    for j in range(taus.shape[0]):
        least, level, smallest = cuts[j, 0], cuts[j, 1], cuts[j, 2]
        for start in range(0, taus.shape[1], STRIP):
            tau = taus[j, start : start + STRIP]
            below = tied = kept = np.int32(0)
            for i in range(tau.size):
                magnitude = abs(tau[i])
                below = np.int32(below + np.int32(magnitude < least))
                tied = np.int32(tied + np.int32(magnitude == level))
                kept = np.int32(kept + np.int32(magnitude >= smallest))
            sizes[0, j] += below
            sizes[1, j] += tied
            sizes[2, j] += kept


@jit
def _vote(taus: Floats, terms: Terms, votes: Signs, elected: Signs) -> None:
    """Write the sign that each vector wants for each element, and the elected one."""
    values, mass, voted = np.empty((3, STRIP))
    for start in range(0, elected.size, STRIP):
        result = elected[start : start + STRIP]
        n = result.size
        mass[:] = voted[:] = 0.0
        for j in range(taus.shape[0]):
            tau = taus[j, start : start + n]
            vote = votes[j, start : start + n]
            scale, threshold = terms.scales[j], terms.thresholds[j]
            for i in range(n):
                wide = np.float64(tau[i])
                values[i] = scale * wide if (abs(wide) >= threshold) | np.isnan(wide) else 0.0
                mass[i] += values[i]
            for i in range(n):
                values[i] = 1.0 if values[i] > 0.0 else (-1.0 if values[i] < 0.0 else 0.0)
                voted[i] += abs(values[i])
            for i in range(n):
                vote[i] = np.int8(values[i])
        for i in range(n):
            undecided = UNDECIDED if (mass[i] == 0.0) & (voted[i] > 0.0) else 0
            result[i] = (mass[i] > 0.0) - (mass[i] < 0.0) + undecided


@jit
def _count(votes: Signs, elected: Signs, signs: Table, outvoted: Table, conflicts: Table) -> None:
    """Count the elected signs, and where a vote is against the elected or against another one."""
    one = np.int8(1)
    for start in range(0, elected.size, STRIP):
        result = elected[start : start + STRIP]
        n = result.size
        positive = negative = undecided = np.int16(0)
        for i in range(n):
            positive = np.int16(positive + np.int16(result[i] == one))
            negative = np.int16(negative + np.int16(result[i] == -one))
            undecided = np.int16(undecided + np.int16(result[i] == UNDECIDED))
        signs[0] += positive
        signs[1] += negative
        signs[2] += undecided
        for j in range(votes.shape[0]):
            vote = votes[j, start : start + n]
            opposed = np.int16(0)
            for i in range(n):
                opposed = np.int16(opposed + np.int16(np.int8(vote[i] * result[i]) == -one))
            outvoted[j] += opposed
            for other in range(j):
                against = votes[other, start : start + n]
                opposed = np.int16(0)
                for i in range(n):
                    opposed = np.int16(opposed + np.int16(np.int8(vote[i] * against[i]) == -one))
                conflicts[j, other] += opposed
                conflicts[other, j] += opposed
