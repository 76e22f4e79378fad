"""TIES as mergekit and PEFT compute it, against their rules written in plain numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc.merge import ties, ties_votes
from pvc.merge.threshold import Search
from pvc.merge.ties_dialects import AUTHORS, COMPAT, DIALECTS, MERGEKIT, PEFT, Dialect
from tests.merge.test_ties import F32, INF, NAN, Array, column, merged, tie_free

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.codec.numbers import Floats


def largest(taus: Array, count: int) -> Array:
    """The so many largest of each vector; the others are 0."""
    kept = np.zeros_like(taus)
    for tau, trimmed in zip(taus, kept, strict=True):
        places = np.argsort(np.abs(tau))[tau.size - count :]
        trimmed[places] = tau[places]
    return kept


def mergekit(taus: Array, scales: Array, density: float) -> Array:
    """`ties` of mergekit, with its default `normalize`."""
    n = taus.shape[1]
    values = largest(taus, n if density >= 1 else max(1, int(density * n))) * scales[:, None]
    agree = np.sign(values) == np.where(values.sum(axis=0) >= 0, 1, -1)
    divisor = (scales[:, None] * agree).sum(axis=0)
    divisor[divisor == 0] = 1
    mean: Array = (values * agree).sum(axis=0) / divisor
    return mean


def peft(taus: Array, scales: Array, density: float) -> Array:
    """`ties` of PEFT, with its default `total`."""
    n = taus.shape[1]
    kept = largest(taus, n if density >= 1 else int(density * n))
    agree = np.sign(kept) == np.where(kept.sum(axis=0) >= 0, 1, -1)
    number = np.maximum(agree.sum(axis=0), 1)
    mean: Array = (kept * scales[:, None] * agree).sum(axis=0) / number
    return mean


ORACLES: dict[str, Callable[[Array, Array, float], Array]] = {"mergekit": mergekit, "peft": peft}


def terms_by(dialect: Dialect, taus: Floats, scales: list[float], density: float) -> ties.Terms:
    thresholds = []
    for tau in taus:
        search = Search(tau.size, dialect.rank(tau.size, density), tau.dtype)
        while search.threshold is None:
            counts = search.counts()
            counts.count(tau)
            search.learn([counts])
        thresholds.append(search.threshold)
    return ties.Terms(np.array(scales), np.array(thresholds), dialect)


def untrimmed(dialect: Dialect, *scales: float) -> ties.Terms:
    return ties.Terms(np.array(scales), np.zeros(len(scales)), dialect)


@pytest.mark.parametrize("compat", COMPAT)
@pytest.mark.parametrize("k", [1, 2, 3, 8])
@pytest.mark.parametrize("density", [0.0001, 0.05, 0.2, 0.7, 0.9999, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_agrees_with_the_rule(compat: str, k: int, density: float, sign: int) -> None:
    taus = tie_free(k, k, 5003)
    scales = [1.0, 0.8 * sign, 0.37, 0.9, 0.11 * sign, 1.0, 0.61, 0.5][:k]
    result = merged(taus, terms_by(DIALECTS[compat], taus, scales, density), 0.9)
    expected = 0.9 * ORACLES[compat](taus.astype(np.float64), np.array(scales), density)
    assert np.abs(result - expected).max() <= 1e-7 * max(np.abs(taus).max(), abs(expected).max())
    assert np.count_nonzero(result) == np.count_nonzero(expected)


@pytest.mark.parametrize(
    ("elements", "density", "authors", "mergekit", "peft"),
    [
        (10, 0.2, 8, 9, 9),  # the authors keep 3, the others 2
        (10, 0.25, 8, 9, 9),
        (10, 0.05, 10, 10, 11),  # mergekit keeps one at least, PEFT none
        (10, 0.999, 1, 2, 2),
        (10, 1.0, 0, 0, 0),
        (1, 0.5, 1, 0, 2),
        (0, 0.5, 0, 0, 0),
    ],
)
def test_ranks(elements: int, density: float, authors: int, mergekit: int, peft: int) -> None:
    found = [rule.rank(elements, density) for rule in (AUTHORS, MERGEKIT, PEFT)]
    assert found == [authors, mergekit, peft]


@pytest.mark.parametrize(
    ("values", "scales", "of_mergekit", "of_peft"),
    [
        ([3, 1, -2], [1, 1, 1], 2, 2),
        ([3, -1], [1, 4], -1, 3),  # PEFT elects before it scales
        ([3, 1], [1, 3], 1.5, 3),  # (3 + 3) / 4, and (3 + 3) / 2
        ([3, 1], [0, 1], 1, 0.5),  # for PEFT a scale of 0 votes, and is counted
        ([3], [0], 0, 0),
        ([2, -2], [1, 1], 2, 2),  # a sum of 0 is positive
        ([2, -1], [1, 2], 2, 2),
        ([-2, 2], [1, 0.5], -2, 1),
        ([3], [-1], 3, -3),  # the sign is lost in mergekit's divisor
        ([3, 1], [-2, -1], 7 / 3, -3.5),
        ([4, -4], [1, -1], 8, 4),  # agreeing scales add up to 0, which counts as 1
        ([0, 0], [1, 1], 0, 0),
        ([2, NAN], [1, 1], NAN, NAN),
        ([INF, -INF], [1, 1], NAN, NAN),
        ([INF, -1], [1, 1], INF, INF),
        ([INF, 2], [0, 1], NAN, NAN),
    ],
)
def test_single_elements(
    values: list[float], scales: list[float], of_mergekit: float, of_peft: float
) -> None:
    taus = column(*values, dtype=np.float64)
    found = [merged(taus, untrimmed(rule, *scales)) for rule in (MERGEKIT, PEFT)]
    assert np.allclose(found, [[of_mergekit], [of_peft]], rtol=1e-15, atol=0, equal_nan=True)


@pytest.mark.parametrize("dialect", [MERGEKIT, PEFT])
@pytest.mark.parametrize("scale", [1.0, -0.5])
def test_nothing_kept_is_plain_zero(dialect: Dialect, scale: float) -> None:
    none = ties.Terms(np.full(2, scale), np.full(2, NAN), dialect)
    result = merged(column(-1, -0.0), none)
    assert result.view(np.uint32).tolist() == [0]
    assert merged(column(INF, -INF), none) == 0
    assert np.isnan(merged(column(1, NAN), none))


@pytest.mark.parametrize("compat", COMPAT)
@given(seed=st.integers(0, 10_000), density=st.floats(0.01, 1))
def test_what_is_tied_at_the_threshold_is_kept(compat: str, seed: int, density: float) -> None:
    dialect = DIALECTS[compat]
    tau = np.random.default_rng(seed).integers(-9, 10, (1, 200)).astype(F32)
    terms = terms_by(dialect, tau, [1.0], density)
    kept = merged(tau, terms) != 0
    sizes = np.abs(tau[0])
    count = min(max(int(compat == "mergekit"), int(200 * density)), 200)
    least = np.sort(sizes)[200 - count] if count else INF
    assert np.array_equal(kept, (sizes >= least) & (sizes > 0))


def test_votes_are_counted_as_they_are_elected() -> None:
    taus = np.array([[3, -3, 2, -2], [-1, 1, -2, 0]], np.float32)
    tally = ties_votes.tally(taus, untrimmed(MERGEKIT, 1.0, 4.0))
    assert (tally.positive, tally.negative, tally.undecided) == (1, 3, 0)
    assert tally.outvoted.tolist() == [3, 0]
    tally = ties_votes.tally(taus, untrimmed(PEFT, 1.0, 4.0))
    assert (tally.positive, tally.negative, tally.undecided) == (2, 2, 0)  # 2 - 2 is positive
    assert tally.outvoted.tolist() == [0, 3]
    assert tally.conflicts.tolist() == [[0, 3], [3, 0]]
