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
    [(1930, 2, "base"), (2, 1930, "HEAD"), (2700, 135, "base"), (2699, 135, None),
     (320, 270, None), (1350, 0, "base"), (1349, 0, None), (0, 1349, None), (0, 1350, "HEAD"),
     (0, 0, None)],
)  # fmt: skip
def test_twenty_to_one_and_half_of_all(one: int, two: int, expected: str | None) -> None:
    assert side(counts(one, two)) == expected


def test_whole_tensors_are_certain_whatever_the_rest() -> None:
    unclear = counts(300, 290)
    assert side(unclear, SideCounts(differing=216, one=216)) == "base"
    assert side(unclear, SideCounts(differing=216, two=216)) == "HEAD"
    assert side(unclear, SideCounts(differing=215, two=215)) is None  # less than a tenth
    assert side(unclear, SideCounts(differing=216, two=216, outside=1)) is None
    assert side(SideCounts(differing=19, one=19)) is None
    assert side(SideCounts(differing=20, one=20)) == "base"


def test_some_elements_of_what_was_trained_contradict_nothing() -> None:
    """All but one tensor is HEAD's; of that one, a few elements came to be the base's."""
    trained = SideCounts(differing=12_800, one=31, two=1, between=6000, ahead=6768)
    assert side(trained, SideCounts(differing=45_320, two=45_320)) == "HEAD"
    other = SideCounts(differing=12_800, one=1, two=31, between=6000, ahead=6768)
    assert side(other, SideCounts(differing=45_320, one=45_320)) == "base"


def test_a_run_that_comes_near_the_base_again_is_asked_about() -> None:
    """Rounding gives it some of the base's elements, whatever it began at."""
    for one, two in ((3700, 140), (17_000, 66), (15_000, 550), (49_000, 290)):
        moved = 100_000 - one - two
        assert side(counts(one, two, between=moved, outside=5000)) is None


def test_contradictions_decide_nothing() -> None:
    assert side(SideCounts(differing=50, one=50), SideCounts(differing=40, two=40)) is None
    assert side(counts(90_000, 2), SideCounts(differing=30_000, two=30_000)) is None
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
