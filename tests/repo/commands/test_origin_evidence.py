"""When counts decide, and when they do not."""

from __future__ import annotations

import pytest

from pvc.codec import SideCounts
from pvc.repo.commands.origin_evidence import OriginEvidence

MIXED = {"between": 500, "behind": 400, "ahead": 450, "outside": 3000}
"""What training leaves: changes in all directions, and where base and HEAD agree."""


def side(*tensors: SideCounts) -> str | None:
    return OriginEvidence.of(tensors).side


def counts(one: int, two: int, **more: int) -> SideCounts:
    more = more or MIXED
    moved = sum(more.get(name, 0) for name in ("between", "behind", "ahead"))
    return SideCounts(differing=one + two + moved, one=one, two=two, **more)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [(930, 2, "base"), (2, 930, "HEAD"), (2000, 100, "base"), (1999, 100, None), (320, 270, None),
     (20, 0, "base"), (19, 0, None), (0, 19, None), (0, 20, "HEAD"), (0, 0, None)],
)  # fmt: skip
def test_twenty_to_one(one: int, two: int, expected: str | None) -> None:
    assert side(counts(one, two)) == expected


def test_whole_tensors_are_certain_whatever_the_rest() -> None:
    unclear = counts(300, 290)
    assert side(unclear, SideCounts(differing=20, one=20)) == "base"
    assert side(unclear, SideCounts(differing=20, two=20)) == "HEAD"
    assert side(unclear, SideCounts(differing=19, two=19)) is None
    assert side(unclear, SideCounts(differing=20, two=20, outside=1)) is None


def test_contradictions_decide_nothing() -> None:
    assert side(SideCounts(differing=50, one=50), SideCounts(differing=40, two=40)) is None
    assert side(counts(90_000, 2), SideCounts(differing=50, two=50)) is None
    # One matrix was put back to the base; of the others, a little is HEAD's and nothing the base's.
    assert side(counts(0, 1700), SideCounts(differing=8000, one=8000)) is None


def test_small_tensors_decide_nothing_as_wholes() -> None:
    """A norm of coarse steps comes to be the base's, or HEAD's, in runs from the other."""
    silent = counts(500, 550, between=25_000, ahead=26_000)
    assert side(silent, SideCounts(differing=40, one=40)) is None
    assert side(silent, SideCounts(differing=40, two=40)) is None
    assert side(silent, SideCounts(differing=6000, one=6000)) == "base"


@pytest.mark.parametrize("way", ["between", "behind", "ahead"])
def test_what_lies_along_heads_change_is_not_taken_for_training_from_the_base(way: str) -> None:
    assert side(counts(6500, 0, **{way: 3500})) is None
    assert side(counts(6500, 300, **{way: 3500})) is None
    assert side(counts(6500, 0, **{way: 3500, "outside": 40})) == "base"
    assert side(counts(6500, 0, between=1200, behind=1200, ahead=1100)) == "base"
    assert side(counts(0, 6500, **{way: 3500})) == "HEAD"


def test_it_is_said_in_plain_words() -> None:
    found = OriginEvidence.of([counts(930, 2), SideCounts(differing=50, one=50)])
    assert found.told() == (
        "of 2 332 elements in which the base and HEAD differ, 42 % are the base's and 0.086 % "
        "HEAD's, bit for bit, 50 of them in tensors that are the base's"
    )
    assert (
        OriginEvidence.of([]).told("v1").endswith("none are the base's and none v1's, bit for bit")
    )
