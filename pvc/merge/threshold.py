"""The trim threshold of a vector: the magnitude of a rank, found without sorting.

The bits of |tau|, read as an integer, are in the order of the magnitudes (NaN above Inf).  They
are found digit by digit, 16 bits at a time: a pass over the data counts how often each digit
occurs below the digits that are known already, and the running sum of the counts leads to the next
digit.  The first pass counts the first digit, and the second one below a guess of the first: one
pass finds a float32 when the guess is right, and one more when it is wrong.

    guess = guess_of(magnitudes of a sample, rank in the sample)
    search = Search(elements of the vector, rank, dtype, guess.magnitude)
    while search.threshold is None:
        counts = [search.counts() for each thread]       each thread: counts.count(tau of a block)
        search.learn(counts)

A threshold of rank r is the r-th smallest magnitude; everything at or above it is kept, all ties
included.  Rank 0 keeps everything; a rank above the number of elements keeps nothing, by a
threshold that is NaN.  Which rank it is, is the dialect's: see `pvc.merge.ties_dialects`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pvc.jit.decorator import jit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.codec.numbers import Floats

Bits: TypeAlias = NDArray[np.unsignedinteger[Any]]
Table: TypeAlias = NDArray[np.int64]

DIGIT = 16
# Neighbours are counted side by side, or a run of equal digits would make each wait for the last.
LANES = 4
# A sample's threshold may be off by so large a share of the elements.
MARGIN = 0.01
# Above every first digit, since a magnitude has no sign bit.
NO_GUESS = 1 << (DIGIT - 1)


@dataclass(frozen=True, slots=True)
class Guess:
    """What a sample says of a threshold.

    Attributes:
        magnitude: the sample's own threshold.
        tied: whether so many elements of the sample are as large that this is probably the
            threshold itself, to the last bit.
    """

    magnitude: float
    tied: bool


def guess_of(sample: Floats, rank: int, margin: float = MARGIN) -> Guess:
    """What the magnitudes of a sample say of the threshold of all.

    Args:
        sample: n magnitudes, at least one.
        rank: of the threshold in the sample.
        margin: by how large a share of the elements the rank may be off; 0 if the sample is all.
    """
    if rank == 0:
        return Guess(0.0, tied=True)
    if rank > sample.size:
        return Guess(math.nan, tied=True)
    margin = int(sample.size * margin)
    places = [max(0, rank - 1 - margin), rank - 1, min(sample.size - 1, rank - 1 + margin)]
    low, middle, high = np.partition(sample, places)[places].tolist()
    return Guess(middle, tied=low == high)


class Counts:
    """How often each next digit occurs in the blocks that one thread has seen during one pass.

    Made by `Search.counts`.
    """

    def __init__(self, dtype: np.dtype[Any], known: int, prefix: int, *, first: bool) -> None:
        self._dtype = dtype
        self._prefix = prefix
        self._shift = dtype.itemsize * 8 - (known + 1) * DIGIT
        self._firsts = np.zeros((1 << (DIGIT - 1), LANES), np.int64) if first else None
        self.below = np.zeros(1 << DIGIT, np.int64)

    def count(self, tau: Floats) -> None:
        """Count the elements of a block.

        Raises:
            ValueError: `tau` is of a wider type than the search.
        """
        if tau.dtype.itemsize > self._dtype.itemsize:
            raise ValueError(f"elements of {tau.dtype} do not fit into {self._dtype}")
        bits = tau.astype(self._dtype, copy=False).view(f"u{self._dtype.itemsize}")
        if self._firsts is None:
            _count_next(bits, self._shift, self._prefix, self.below)
        else:
            _count_first(bits, self._prefix, self._firsts, self.below)

    def add_zeros(self, n: int) -> None:
        """Count `n` elements that are 0, such as those of a tensor that did not change."""
        if self._firsts is not None:
            self._firsts[0, 0] += n
        if self._prefix == 0:
            self.below[0] += n

    @property
    def firsts(self) -> Table | None:
        """How often each first digit occurs; none after the first pass."""
        return None if self._firsts is None else self._firsts.sum(axis=1)


class Search:
    """The search for the threshold of one vector, pass by pass."""

    def __init__(
        self, elements: int, rank: int, dtype: np.dtype[Any], guess: float | None = None
    ) -> None:
        """Begin a search.

        Args:
            elements: how many elements the vector has, in all blocks.
            rank: of the threshold.
            dtype: float32, or float64 if any block of the vector is float64.
            guess: a magnitude that has the first digit of the threshold, probably.
        """
        self._dtype = np.dtype(dtype)
        self._unsigned = np.dtype(f"u{self._dtype.itemsize}")
        self._digits = self._dtype.itemsize * 8 // DIGIT
        self._elements = elements  # that have the prefix
        self._rank = rank  # of the threshold, among those
        self._known = 0
        self._prefix = 0
        if rank > elements:  # NaN, which is above all
            self._known, self._prefix = self._digits, np.iinfo(self._unsigned).max >> 1
        self._guess = NO_GUESS if guess is None else self._first_digit(guess)

    @property
    def threshold(self) -> float | None:
        """The magnitude from which on elements are kept; None while another pass is needed."""
        return self.estimate if self._rank == 0 or self._known == self._digits else None

    @property
    def estimate(self) -> float:
        """The smallest magnitude that the threshold may still be: a guess, for another search."""
        bits = self._prefix << (self._digits - self._known) * DIGIT
        return float(np.array(bits, self._unsigned).view(self._dtype))

    def counts(self) -> Counts:
        """Empty counts for the next pass; each thread needs its own."""
        first = self._known == 0
        known, prefix = (1, self._guess) if first else (self._known, self._prefix)
        return Counts(self._dtype, known, prefix, first=first)

    def learn(self, counts: Iterable[Counts]) -> None:
        """End a pass, in which every element of the vector was counted once.

        Args:
            counts: those of all threads, made by `counts` since the last pass.

        Raises:
            ValueError: more or fewer elements were counted than there are.
        """
        counts = list(counts)
        if self._known == 0:
            self._step(sum(table for c in counts if (table := c.firsts) is not None))
            if self._prefix != self._guess:
                return
        self._step(sum(c.below for c in counts))

    def _step(self, table: Table | int) -> None:
        sums = np.cumsum(table)
        if sums[-1] != self._elements:
            raise ValueError(f"{sums[-1]} elements were counted where there are {self._elements}")
        digit = int(np.searchsorted(sums, self._rank))
        if digit:
            self._rank -= int(sums[digit - 1])
            self._elements = int(sums[digit] - sums[digit - 1])
        else:
            self._elements = int(sums[0])
        self._prefix = self._prefix << DIGIT | digit
        self._known += 1

    def _first_digit(self, guess: float) -> int:
        bits = np.array(abs(guess), self._dtype).view(self._unsigned)
        return int(bits) >> (self._digits - 1) * DIGIT


@jit
def _count_first(bits: Bits, guess: int, firsts: Table, below: Table) -> None:
    """Count the first digits, and the second ones where the first is the guess."""
    word = bits.dtype.type
    shift = word(np.iinfo(bits.dtype).bits - DIGIT)
    next_shift = word(shift - DIGIT)
    low, top = word((1 << DIGIT) - 1), word((1 << (DIGIT - 1)) - 1)
    wanted = word(guess)
    whole = bits.size // LANES * LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            value = bits[start + lane]
            first = word(value >> shift) & top
            firsts[first, lane] += 1
            if first == wanted:
                below[word(value >> next_shift) & low] += 1
    for i in range(whole, bits.size):
        first = word(bits[i] >> shift) & top
        firsts[first, 0] += 1
        if first == wanted:
            below[word(bits[i] >> next_shift) & low] += 1


@jit
def _count_next(bits: Bits, shift: int, prefix: int, below: Table) -> None:
    """Count the digits at `shift` where all digits before are the prefix."""
    word = bits.dtype.type
    magnitude = word(np.iinfo(bits.dtype).max >> 1)
    by, low = word(shift), word((1 << DIGIT) - 1)
    above, wanted = word(shift + DIGIT), word(prefix)
    for i in range(bits.size):
        value = bits[i] & magnitude
        if value >> above == wanted:
            below[word(value >> by) & low] += 1
