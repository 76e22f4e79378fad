"""TIES, against the paper (arXiv 2306.01708) written in plain numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pvc.merge import ties, ties_votes
from pvc.merge.threshold import Search
from pvc.merge.ties_dialects import rank_of

if TYPE_CHECKING:
    from pvc.codec.numbers import Floats

Array = NDArray[np.float64]
NAN, INF = float("nan"), float("inf")
F32 = np.dtype(np.float32)


def by_the_paper(taus: Array, scales: Array, density: float, factor: float) -> Array:
    """Algorithm 1: trim, elect, disjoint mean."""
    kept = np.zeros_like(taus)
    for tau, trimmed in zip(taus, kept, strict=True):
        count = min(int(tau.size * density) + 1, tau.size)  # as the authors' code does
        largest = np.argsort(np.abs(tau))[tau.size - count :]
        trimmed[largest] = tau[largest]
    kept *= scales[:, None]
    elected = np.sign(kept.sum(axis=0))
    agree = (np.sign(kept) == elected) & (kept != 0)
    number = np.maximum(agree.sum(axis=0), 1)
    mean: Array = factor * (kept * agree).sum(axis=0) / number
    return mean


def tie_free(seed: int, k: int, n: int) -> Floats:
    """Magnitudes that all differ, so that every exact trim keeps the same elements."""
    generator = np.random.default_rng(seed)
    sizes = np.stack([generator.permutation(np.arange(1, n + 1)) for _ in range(k)])
    signs = generator.choice([-1, 1], (k, n))
    taus: Floats = (sizes * signs * 1.37e-7).astype(F32)
    return taus


def terms_for(taus: Floats, scales: list[float], density: float) -> ties.Terms:
    thresholds = []
    for tau in taus:
        search = Search(tau.size, rank_of(tau.size, density), tau.dtype)
        while search.threshold is None:
            counts = search.counts()
            counts.count(tau)
            search.learn([counts])
        thresholds.append(search.threshold)
    return ties.Terms(np.array(scales), np.array(thresholds))


def merged(taus: Floats, terms: ties.Terms, factor: float = 1.0, undecided: int = 1) -> Floats:
    out = np.empty(taus.shape[1], taus.dtype)
    ties.combine(taus, terms, factor, undecided, out)
    return out


def untrimmed(*scales: float) -> ties.Terms:
    return ties.Terms(np.array(scales), np.zeros(len(scales)))


def column(*values: float, dtype: Any = F32) -> Floats:
    return np.array(values, dtype).reshape(-1, 1)


@pytest.mark.parametrize("k", [1, 2, 3, 8])
@pytest.mark.parametrize("density", [0.05, 0.2, 0.7, 1.0])
def test_agrees_with_the_paper(k: int, density: float) -> None:
    taus = tie_free(k, k, 5003)
    scales = [1.0, 0.8, 0.37, 0.9, 0.11, 1.0, 0.61, 0.5][:k]
    result = merged(taus, terms_for(taus, scales, density), 0.9)
    expected = by_the_paper(taus.astype(np.float64), np.array(scales), density, 0.9)
    assert np.abs(result - expected).max() <= 1e-7 * np.abs(taus).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_whole_vector_stays_itself(dtype: type[np.floating[Any]]) -> None:
    tau = np.random.default_rng(1).standard_normal((1, 3000)).astype(dtype)
    assert np.array_equal(merged(tau, untrimmed(1.0)), tau[0])


def test_negated_vector_is_negated() -> None:
    tau = tie_free(2, 1, 2000)
    assert np.array_equal(merged(tau, untrimmed(-1.0)), -tau[0])
    assert np.array_equal(merged(tau, untrimmed(1.0), factor=-1.0), -tau[0])


@given(seed=st.integers(0, 10_000), density=st.floats(0.01, 1))
def test_negating_all_vectors_negates_the_result(seed: int, density: float) -> None:
    taus = tie_free(seed, 3, 200)
    terms = terms_for(taus, [1.0, 0.7, 0.4], density)
    assert np.array_equal(merged(-taus, terms, 1.0, -1), -merged(taus, terms, 1.0, 1))


@given(seed=st.integers(0, 10_000))
def test_disjoint_vectors_keep_their_own_values(seed: int) -> None:
    taus = tie_free(seed, 3, 200)
    owner = np.random.default_rng(seed).integers(0, 3, 200)
    own = np.where(owner == np.arange(3)[:, None], taus, np.float32(0))
    assert np.array_equal(merged(own, untrimmed(1, 1, 1)), own.sum(axis=0))


@pytest.mark.parametrize(
    ("values", "scales", "expected"),
    [
        ([3, 1, -2], [1, 1, 1], 2),  # the mass is 2: the mean of 3 and 1
        ([3, 1, -5], [1, 1, 1], -5),
        ([3, -1], [1, 4], -4),  # scaled values are elected
        ([3, 1], [0, 1], 1),  # a scale of 0 neither votes nor is counted
        ([0, 0], [1, 1], 0),
        ([2, NAN], [1, 1], NAN),
        ([INF, -INF], [1, 1], NAN),
        ([INF, -1], [1, 1], INF),
        ([INF, 2], [0, 1], NAN),
    ],
)
def test_single_elements(values: list[float], scales: list[float], expected: float) -> None:
    result = merged(column(*values), untrimmed(*scales))
    assert np.array_equal(result, [expected], equal_nan=True)


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_nothing_kept_is_plain_zero(factor: float) -> None:
    terms = ties.Terms(np.ones(2), np.full(2, 9.0))
    result = merged(column(-1, -0.0), terms, factor, -1)
    assert result.view(np.uint32).tolist() == [0]


def test_zero_mass_goes_to_the_majority() -> None:
    taus = column(3, -1, -2)
    assert merged(taus, untrimmed(1, 1, 1), 1.0, +1) == 3
    assert merged(taus, untrimmed(1, 1, 1), 1.0, -1) == -1.5


def test_what_is_at_the_threshold_is_kept_and_nan_passes_any() -> None:
    taus = column(2, 1, dtype=np.float64)
    assert merged(taus, ties.Terms(np.ones(2), np.array([2.0, np.nextafter(1, 2)]))) == 2
    assert np.isnan(merged(column(NAN), ties.Terms(np.ones(1), np.array([INF]))))


def test_float64_is_not_narrowed() -> None:
    taus = column(1 + 2.0**-50, 1, dtype=np.float64)
    assert merged(taus, untrimmed(1, 1)) == 1 + 2.0**-51


def test_tally_counts_what_is_elected() -> None:
    taus = np.array(
        [
            [3, -3, 1, 0, 1, 5, 0.1, NAN],
            [1, 1, -1, 0, 1, -1, -7, 1],
            [-2, 1, 0, 0, 1, -1, -2, -1],
        ],
        np.float32,
    )
    terms = ties.Terms(np.ones(3), np.array([0.5, 0.5, 1.5]))
    tally = ties_votes.tally(taus, terms)
    assert (tally.positive, tally.negative, tally.undecided) == (3, 2, 1)
    assert tally.below.tolist() == [2, 1, 6]
    assert tally.tied.tolist() == [0, 0, 0]
    assert tally.kept.tolist() == [5, 7, 2]
    assert tally.outvoted.tolist() == [0, 2, 1]
    assert tally.conflicts.tolist() == [[0, 3, 1], [3, 0, 1], [1, 1, 0]]


@given(seed=st.integers(0, 1000), cut=st.integers(0, 3000))
def test_tally_adds_up(seed: int, cut: int) -> None:
    generator = np.random.default_rng(seed)
    taus = generator.integers(-4, 5, (4, 3000)).astype(np.float32)
    terms = ties.Terms(np.array([1, -1, 0.5, 2]), np.array([0.0, 2, 3, 1]))
    values = np.where(np.abs(taus) >= terms.thresholds[:, None], taus, 0) * terms.scales[:, None]
    mass = values.sum(axis=0)
    parts = [np.ascontiguousarray(part) for part in np.split(taus, [cut], axis=1)]
    tally = ties_votes.tally(parts[0], terms) + ties_votes.tally(parts[1], terms)
    assert tally.positive == np.count_nonzero(mass > 0)
    assert tally.negative == np.count_nonzero(mass < 0)
    assert tally.undecided == np.count_nonzero((mass == 0) & values.any(axis=0))
    sizes, cuts = np.abs(taus), terms.thresholds[:, None]
    assert tally.below.tolist() == np.count_nonzero(sizes < cuts, axis=1).tolist()
    assert tally.tied.tolist() == np.count_nonzero(sizes == cuts, axis=1).tolist()
    assert tally.kept.tolist() == np.count_nonzero(values, axis=1).tolist()
    assert tally.outvoted.tolist() == np.count_nonzero(values * mass < 0, axis=1).tolist()
    opposed = np.count_nonzero(values[:, None] * values[None] < 0, axis=2)
    assert tally.conflicts.tolist() == opposed.tolist()


@pytest.mark.parametrize("threshold", [0.1, 0.0, 1e-60, INF, NAN])
def test_a_threshold_that_float32_does_not_have(threshold: float) -> None:
    sizes = np.array(
        [0, 1e-45, np.float32(0.1), np.nextafter(np.float32(0.1), F32.type(0)), 7, INF]
    )
    taus = sizes.astype(np.float32)[None]
    tally = ties_votes.tally(taus, ties.Terms(np.ones(1), np.array([threshold])))
    wide = taus.astype(np.float64)
    assert tally.below == np.count_nonzero(wide < threshold)
    assert tally.tied == np.count_nonzero(wide == threshold)
    assert tally.kept == np.count_nonzero((wide >= threshold) & (wide != 0))


@pytest.mark.parametrize(("up", "down", "sign"), [(2, 1, 1), (1, 2, -1), (3, 3, -1), (0, 0, -1)])
def test_majority(up: int, down: int, sign: int) -> None:
    assert ties_votes.majority(up, down) == sign


def test_shapes_are_checked() -> None:
    taus = np.zeros((2, 5), np.float32)
    with pytest.raises(ValueError, match="do not fit"):
        ties.combine(taus, untrimmed(1, 1, 1), 1.0, 1, np.empty(5, np.float32))
    with pytest.raises(ValueError, match="do not fit"):
        ties.combine(taus, untrimmed(1, 1), 1.0, 1, np.empty(4, np.float32))
    with pytest.raises(ValueError, match="do not fit"):
        ties_votes.tally(taus, ties.Terms(np.ones(2), np.zeros(3)))
