"""Evidence of a result's origin: where base and HEAD differ, whose elements it has, bit for bit.

Distance says nothing: what unlearns from HEAD comes nearer to the base, and a stronger run from the
base comes nearer to HEAD.  Bits that training left alone do: rounding to 16 bits keeps most of them
in a short run.  A full run with float32 master weights keeps few, and as many of the one as of the
other, since behaviours move the same elements: then there is no evidence.

Weights computed from the base along HEAD's own change, such as base + 0.3*listening, have many
elements from the base too.  They are recognised by changing nothing that HEAD did not change, and
all in one direction; they are no evidence of training from the base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.codec import SideCounts
from pvc.wording import number

if TYPE_CHECKING:
    from collections.abc import Iterable

RATIO = 20
"""How many times as many elements have to speak for the one as for the other."""
ENOUGH = 20
"""Elements that have to speak for it, at least.

Norms often change in an element or two, which are the same in every run: such a tensor can be
HEAD's bit for bit although the run began at the base.
"""
SHARE = 1 / 2
"""Share of the elements in which base and HEAD differ that has to be the one's.

A run that comes near to the base again has some of its bits by rounding, whatever it began at.
"""
WHOLE_SHARE = 1 / 10
"""The same of elements in tensors that are the one's as wholes.

Where a run happens to change a norm's few elements in coarse steps, they come to be another run's.
"""
REST_SHARE = 1 / 5
"""Share of all other elements that contradicts such tensors."""
STRAY = 1000
"""Of so many elements that weights on the line have otherwise than the base, one may lie off it."""


@dataclass(frozen=True, slots=True)
class OriginEvidence:
    """Counts of elements in which the base and HEAD differ, in the result's dtype.

    Attributes:
        counts: all of them, `one` for the base's and `two` for HEAD's.
        whole_base: those of tensors that are the base's, bit for bit and whole.
        whole_head: those of tensors that are HEAD's.
    """

    counts: SideCounts
    whole_base: int
    whole_head: int

    @classmethod
    def of(cls, tensors: Iterable[SideCounts]) -> OriginEvidence:
        """The sum over tensors."""
        counts, whole_base, whole_head = SideCounts(), 0, 0
        for one in tensors:
            counts += one
            if not one.outside and one.differing:
                whole_base += one.differing if one.one == one.differing else 0
                whole_head += one.differing if one.two == one.differing else 0
        return cls(counts, whole_base, whole_head)

    @property
    def side(self) -> str | None:
        """What it speaks for, "base" or "HEAD", at least 20 to 1; None if for neither."""
        counts = self.counts
        rest = counts.differing - self.whole_base - self.whole_head
        bits = _heavier(counts.one, counts.two, SHARE * counts.differing)
        whole = _heavier(self.whole_base, self.whole_head, WHOLE_SHARE * counts.differing)
        others = _heavier(
            counts.one - self.whole_base, counts.two - self.whole_head, REST_SHARE * rest
        )
        found = whole or bits
        if {bits, others} - {None, found}:
            return None
        return None if found == "base" and self.is_on_the_line else found

    @property
    def is_on_the_line(self) -> bool:
        """Whether all changes lie along HEAD's own, as computed weights do."""
        counts = self.counts
        moved = counts.between, counts.behind, counts.ahead
        off = sum(moved) - max(moved)
        taken = sum(moved) + counts.two
        return taken >= ENOUGH and (off + counts.outside) * STRAY <= taken

    def told(self, other: str = "HEAD", one: str = "the base") -> str:
        """The counts in words.

        Args:
            other: what `whole_head` and the counts `two` are of.
            one: what `whole_base` and the counts `one` are of.
        """
        counts = self.counts
        text = (
            f"of {number(counts.differing)} elements in which {one} and {other} differ, "
            f"{_share(counts.one, counts.differing)} are {one}'s and "
            f"{_share(counts.two, counts.differing)} {other}'s, bit for bit"
        )
        whole = [
            f"{number(count)} of them in tensors that are {whose}'s"
            for count, whose in ((self.whole_base, one), (self.whole_head, other))
            if count >= ENOUGH
        ]
        return ", ".join([text, " and ".join(whole)]) if whole else text


def _heavier(base: int, head: int, least: float) -> str | None:
    """The side that has far more elements than the other, and at least some number of them."""
    more, less = max(base, head), min(base, head)
    if more < max(ENOUGH, RATIO * less, least):
        return None
    return "base" if base == more else "HEAD"


def _share(count: int, whole: int) -> str:
    return f"{100 * count / whole:.2g} %" if whole else "none"
