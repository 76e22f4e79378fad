"""The election of TIES, counted: which signs win, what is kept of each vector, what is outvoted.

The counts prove thresholds, find the majority sign, and are what `pvc merge` prints.  See
`pvc.merge.ties` for what is kept and elected.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pvc.codec.buffers import BUFFERS
from pvc.codec.kernels import STRIP
from pvc.jit.decorator import jit
from pvc.merge.ties import Terms, check, cuts_of, keepable

if TYPE_CHECKING:
    from pvc.codec.elements import Numbers
    from pvc.codec.numbers import Floats

Table: TypeAlias = NDArray[np.int64]
Signs: TypeAlias = NDArray[np.int8]

# Beside the signs -1 and +1, and 0 where nothing is elected.
UNDECIDED = 2
# The sign of a mass that is NaN, which elects nothing.
INVALID = 3


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """How the elements of some blocks were elected.

    Attributes:
        positive: elements whose mass is above 0.
        negative: elements whose mass is below 0.
        undecided: elements whose mass is 0 although something was kept; by dialects that have a
            sign for them they are counted as having it.
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


def tally(taus: Floats, terms: Terms) -> Tally:
    """Count how the elements of a block are elected.

    Args:
        taus: shape (k, n).
        terms: the scales and thresholds of the k vectors.

    Raises:
        ValueError: the shapes do not fit.
    """
    k, n = taus.shape
    check(taus, terms, n)
    sizes, outvoted = np.zeros((3, k), np.int64), np.zeros(k, np.int64)
    signs, conflicts = np.zeros(3, np.int64), np.zeros((k, k), np.int64)
    votes, elected = np.empty((k, n), np.int8), np.empty(n, np.int8)
    cuts = cuts_of(terms.thresholds, taus.dtype)
    _measure(taus, cuts, sizes)
    tie = UNDECIDED if terms.dialect.zero_sum is None else terms.dialect.zero_sum
    results = votes, elected, BUFFERS.strips[8][1], np.empty(STRIP, np.int8)
    _vote(keepable(taus, cuts), cuts, terms.rates, tie, results)
    _count(votes, elected, signs, outvoted, conflicts)
    positive, negative, undecided = signs.tolist()
    below, tied, kept = sizes
    return Tally(positive, negative, undecided, below, tied, kept, outvoted, conflicts)


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
def _vote(
    taus: Floats,
    cuts: Floats,
    rates: NDArray[np.float64],
    undecided: int,
    results: tuple[Signs, Signs, Numbers, Signs],
) -> None:
    """Write the sign that each vector wants for each element, and the elected one.

    Signs are taken as numbers first: that, and then one conversion, is what becomes vector code.
    The last results are two strips of numbers, and one of signs, to work in.
    """
    votes, elected, strips, voted = results
    zero, none, tie, invalid = taus.dtype.type(0), np.int8(0), np.int8(undecided), np.int8(INVALID)
    values, mass = strips[0], strips[1]
    for start in range(0, elected.size, STRIP):
        result = elected[start : start + STRIP]
        n = result.size
        mass[:] = 0.0
        voted[:] = 0
        for j in range(taus.shape[0]):
            tau = taus[j, start : start + n]
            vote = votes[j, start : start + n]
            rate, cut = rates[j, 0], cuts[j, 0]
            for i in range(n):
                values[i] = rate * np.float64(zero if abs(tau[i]) < cut else tau[i])
                mass[i] += values[i]
            for i in range(n):
                values[i] = 1.0 if values[i] > 0.0 else (-1.0 if values[i] < 0.0 else 0.0)
            for i in range(n):
                vote[i] = np.int8(values[i])
                voted[i] |= vote[i]
        for i in range(n):
            side = 1.0 if mass[i] > 0.0 else (-1.0 if mass[i] < 0.0 else 0.0)
            mass[i] = side if mass[i] == mass[i] else INVALID
        for i in range(n):
            sign = np.int8(mass[i])
            without = tie if voted[i] != none else none
            result[i] = without if sign == none else (none if sign == invalid else sign)


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
