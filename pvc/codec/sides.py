"""Sides: which of two stored blocks a third agrees with, element by element, bit for bit."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np

from pvc.codec.elements import Words, as_words, elements_of
from pvc.jit.decorator import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc_store.kinds import Kind


@dataclass(frozen=True, slots=True)
class SideCounts:
    """Elements of a result beside those of two others, `one` and `two`, in the result's dtype.

    Of the elements in which the two differ, each is counted once: it is the one's, or the two's, or
    lies between them, or beyond either.

    Attributes:
        differing: elements in which the two differ.
        one: of these, how many the result has from the one.
        two: of these, how many the result has from the two.
        between: of these, how many lie between the two.
        behind: of these, how many lie beyond the one, seen from the two.
        ahead: of these, how many lie beyond the two, seen from the one.
        outside: elements that the two have in common, and the result has otherwise.
    """

    differing: int = 0
    one: int = 0
    two: int = 0
    between: int = 0
    behind: int = 0
    ahead: int = 0
    outside: int = 0

    def __add__(self, other: SideCounts) -> SideCounts:
        return SideCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def count_sides(
    one: NDArray[np.uint8], two: NDArray[np.uint8], new: NDArray[np.uint8], kind: Kind
) -> SideCounts:
    """Count the elements of three blocks of one kind.

    Floats are ordered by their values, with NaN beyond Inf; a complex number counts as two
    elements, and packed kinds byte by byte.

    Args:
        one: bytes of a block.
        two: bytes of another.
        new: bytes of the result.
        kind: numeric kind of all three.

    Raises:
        ValueError: the blocks are not of the same size.
    """
    if not one.size == two.size == new.size:
        raise ValueError(f"blocks of {one.size}, {two.size} and {new.size} bytes")
    counts = np.zeros(len(SideCounts.__slots__), np.int64)
    words = as_words(one, kind), as_words(two, kind), as_words(new, kind)
    _count(*words, elements_of(kind).magnitude, counts)
    return SideCounts(*counts.tolist())


@jit
def _count(one: Words, two: Words, new: Words, magnitude: int, counts: NDArray[np.int64]) -> None:
    """Count strip by strip, in words and without branches, so that the loop is vectorised."""
    word = new.dtype.type
    size, top, flag = word(magnitude), word(np.iinfo(new.dtype).bits - 1), word(1)
    strip = 96 if np.iinfo(new.dtype).bits == 8 else 1024  # what a word can count
    for start in range(0, new.size, strip):
        x, y, z = (
            one[start : start + strip], two[start : start + strip], new[start : start + strip],
        )  # fmt: skip
        differing = first = second = inside = before = outside = word(0)
        for i in range(z.size):
            a, b, c = x[i], y[i], z[i]
            apart = word(a != b)
            from_one, from_two = word(c == a), word(c == b)
            neither = word(word(from_one | from_two) ^ flag)
            low = word(a ^ word(word(a >> top) & size))
            high = word(b ^ word(word(b >> top) & size))
            at = word(c ^ word(word(c >> top) & size))
            up, past_one, to_two = word(low < high), word(low < at), word(at < high)
            leaves = word(word(past_one ^ up) ^ flag)  # on that side of the one where the two lies
            arrives = word(word(to_two ^ up) ^ flag)  # on that side of the two where the one lies
            differing = word(differing + apart)
            first = word(first + word(apart & from_one))
            second = word(second + word(apart & from_two))
            inside = word(inside + word(word(apart & neither) & word(leaves & arrives)))
            before = word(before + word(word(apart & neither) & word(leaves ^ flag)))
            outside = word(outside + word(word(apart ^ flag) & neither))
        counts[0] += np.int64(differing)
        counts[1] += np.int64(first)
        counts[2] += np.int64(second)
        counts[3] += np.int64(inside)
        counts[4] += np.int64(before)
        counts[6] += np.int64(outside)
    counts[5] = counts[0] - counts[1] - counts[2] - counts[3] - counts[4]
