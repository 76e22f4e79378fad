"""Evidence of what a result was trained from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pvc.repo.commands.origin_evidence import Evidence, Side, total

CLEAR = Evidence(differing=10_000, result_square=1.0, head_square=1.0, product=0.1)


@pytest.mark.parametrize(
    ("base", "head", "side"),
    [
        (9300, 20, Side.BASE),
        (20, 9300, Side.HEAD),
        (3200, 2700, None),
        (1500, 2000, None),
        (5100, 1400, None),
        (2000, 100, Side.BASE),
        (1990, 100, None),
        (99, 0, None),
        (100, 0, Side.BASE),
        (0, 0, None),
    ],
)
def test_twenty_to_one(base: int, head: int, side: Side | None) -> None:
    assert replace(CLEAR, like_base=base, like_head=head).side() is side


@pytest.mark.parametrize(
    ("base", "head", "side"),
    [(100, 0, Side.BASE), (0, 100, Side.HEAD), (100, 1, None), (99, 0, None)],
)
def test_whole_tensors_are_certain(base: int, head: int, side: Side | None) -> None:
    found = replace(CLEAR, like_base=3000, like_head=3000, whole_base=base, whole_head=head)
    assert found.side() is side


def test_a_retreat_from_head_is_not_taken_for_the_base() -> None:
    less = replace(CLEAR, like_base=6500, result_square=0.09, product=0.3, whole_base=500)
    assert less.lies_between()
    assert less.side() is None
    assert replace(less, like_base=2, like_head=9300, whole_base=0).side() is Side.HEAD
    assert replace(less, result_square=1.69, product=1.3).side() is Side.BASE
    assert abs(less.nearness() - 0.7 / 0.3) < 1e-12


def test_sums() -> None:
    parts = [replace(CLEAR, like_base=n, whole_head=1) for n in range(5)]
    found = total(parts)
    assert (found.differing, found.like_base, found.whole_head) == (50_000, 10, 5)
    assert str(replace(CLEAR, like_base=9300, like_head=20)) == (
        "of 10 000 elements in which the base and HEAD differ, 93 % are the base's and 0.2 % HEAD's"
    )
