"""The threshold search, against sorting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pvc.merge.threshold import Search, guess_of
from pvc.merge.ties_dialects import rank_of

if TYPE_CHECKING:
    from pvc.codec.numbers import Floats

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1e-40, 1.0, -1.0, 0.5, float("inf"), float("nan"), -3.4e38]
DENSITIES = st.one_of(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.floats(0, 1))


def sorted_threshold(tau: Floats, density: float) -> float:
    """The authors' rule by sorting: the (d - int(d * density))-th smallest, NaN above all."""
    rank = tau.size - int(tau.size * density)
    return float(np.sort(np.abs(tau))[rank - 1]) if rank else 0.0


def found(search: Search, blocks: list[Floats], zeros: int = 0, threads: int = 1) -> int:
    """Run the search to its end, and return the number of passes."""
    passes = 0
    while search.threshold is None:
        counts = [search.counts() for _ in range(threads)]
        for i, block in enumerate(blocks):
            counts[i % threads].count(block)
        counts[-1].add_zeros(zeros)
        search.learn(counts)
        passes += 1
    return passes


def same(a: float | None, b: float) -> bool:
    return a is not None and np.array_equal(a, b, equal_nan=True)


@st.composite
def vectors(draw: st.DrawFn, dtype: np.dtype[Any]) -> Floats:
    bits = dtype.itemsize * 8
    number = st.one_of(
        st.sampled_from(SPECIAL).map(lambda x: int(np.array(x, dtype).view(f"u{bits // 8}"))),
        st.integers(0, (1 << bits) - 1),
        st.integers(0, 3).map(lambda low: (1 << (bits - 2)) + low),  # differ in the last digit
    )
    patterns = draw(st.lists(number, min_size=1, max_size=40))
    return np.array(patterns, f"u{bits // 8}").view(dtype)


@pytest.mark.parametrize("dtype", [F32, F64])
@given(data=st.data(), density=DENSITIES)
def test_threshold_is_that_of_sorting(
    dtype: np.dtype[Any], data: st.DataObject, density: float
) -> None:
    tau = data.draw(vectors(dtype))
    zeros = data.draw(st.integers(0, 20))
    guess = data.draw(st.none() | st.floats(width=32))
    cuts = sorted(data.draw(st.lists(st.integers(0, tau.size), max_size=5)))
    search = Search(tau.size + zeros, rank_of(tau.size + zeros, density), dtype, guess)
    passes = found(search, np.split(tau, cuts), zeros, data.draw(st.integers(1, 3)))
    whole = np.concatenate([tau, np.zeros(zeros, dtype)])
    assert same(search.threshold, sorted_threshold(whole, density))
    assert passes <= dtype.itemsize // 2


@given(tau=vectors(F32), density=DENSITIES)
@example(tau=np.zeros(9, np.float32), density=0.5)
def test_right_guess_needs_one_pass(tau: Floats, density: float) -> None:
    threshold = sorted_threshold(tau, density)
    search = Search(tau.size, rank_of(tau.size, density), F32, guess=threshold)
    passes = found(search, [tau])
    assert same(search.threshold, threshold)
    assert passes <= 1 or np.isnan(threshold)  # NaN in a float has lost its low bits


@pytest.mark.parametrize(("dtype", "passes"), [(F32, 1), (F64, 3)])
def test_a_sample_gives_a_good_guess(dtype: np.dtype[Any], passes: int) -> None:
    # The scale puts the threshold into the middle between two changes of the first digit.
    tau = (np.random.default_rng(1).standard_normal(1 << 19) * 1.0028).astype(dtype)
    guess = guess_of(np.abs(tau[: 1 << 17]), rank_of(1 << 17, 0.2))
    assert not guess.tied
    search = Search(tau.size, rank_of(tau.size, 0.2), dtype, guess.magnitude)
    assert found(search, np.split(tau, 8), threads=2) == passes
    rank = tau.size - int(tau.size * 0.2)
    assert search.threshold == np.partition(np.abs(tau), rank - 1)[rank - 1]


@given(seed=st.integers(0, 1000), density=st.floats(0, 1), steps=st.integers(1, 5))
def test_a_guess_is_the_threshold_of_the_sample(seed: int, density: float, steps: int) -> None:
    sample = np.random.default_rng(seed).integers(0, steps, 300).astype(F32)
    assert guess_of(sample, rank_of(300, density)).magnitude == sorted_threshold(sample, density)


def test_a_guess_knows_whether_it_is_tied() -> None:
    coarse = np.repeat(np.array([1.0, 2.0, 3.0], F32), 100)
    assert guess_of(coarse, 150).tied
    assert not guess_of(coarse, 200).tied  # a little more, and it would be another
    assert guess_of(coarse, 200, margin=0).tied
    assert not guess_of(np.arange(300, dtype=F32), 150).tied
    assert guess_of(coarse, 0).tied
    assert not guess_of(np.full(300, np.nan, F32), 150).tied
    nothing = guess_of(coarse, 301)
    assert nothing.tied
    assert np.isnan(nothing.magnitude)


@pytest.mark.parametrize("guess", [None, 1e-30, 5.0, float("inf")])
def test_wrong_guess_needs_one_more_pass(guess: float | None) -> None:
    tau = np.random.default_rng(2).standard_normal(5001).astype(np.float32)
    search = Search(tau.size, rank_of(tau.size, 0.3), F32, guess)
    assert found(search, [tau]) == 2
    assert search.threshold == sorted_threshold(tau, 0.3)


def test_all_ties_at_the_threshold_are_kept() -> None:
    tau = np.repeat(np.array([1.0, -2.0, 2.0, 3.0], np.float32), 10)
    search = Search(40, rank_of(40, 0.4), F32)
    found(search, [tau])
    assert search.threshold == 2.0
    assert np.count_nonzero(np.abs(tau) >= search.threshold) == 30


def test_narrow_blocks_of_a_wide_vector() -> None:
    generator = np.random.default_rng(3)
    wide, narrow = generator.standard_normal(500), generator.standard_normal(500).astype("f4")
    search = Search(1000, rank_of(1000, 0.1), F64)
    found(search, [wide, narrow])
    assert search.threshold == sorted_threshold(np.concatenate([wide, narrow]), 0.1)


@pytest.mark.parametrize(("elements", "density"), [(0, 0.5), (0, 0.0), (100, 1.0)])
def test_keeping_everything_needs_no_pass(elements: int, density: float) -> None:
    assert Search(elements, rank_of(elements, density), F32).threshold == 0.0


@pytest.mark.parametrize("dtype", [F32, F64])
def test_keeping_nothing_needs_no_pass(dtype: np.dtype[Any]) -> None:
    threshold = Search(5, 6, dtype).threshold
    assert threshold is not None
    assert np.isnan(threshold)


@given(seed=st.integers(0, 1000))
def test_counts_do_not_depend_on_the_split(seed: int) -> None:
    generator = np.random.default_rng(seed)
    tau = generator.integers(0, 1 << 32, 300, np.uint32).view(np.float32)
    cuts = np.sort(generator.integers(0, 300, 4))
    a, b = Search(300, 240, F32, 1.0).counts(), Search(300, 240, F32, 1.0).counts()
    a.count(tau)
    for block in np.split(tau, cuts):
        b.count(block)
    assert a.firsts is not None
    assert b.firsts is not None
    assert a.firsts.sum() == 300
    assert np.array_equal(a.firsts, b.firsts)
    assert np.array_equal(a.below, b.below)


def test_what_was_not_counted_is_noticed() -> None:
    search = Search(10, 5, F32)
    counts = search.counts()
    counts.count(np.ones(9, np.float32))
    with pytest.raises(ValueError, match="9 elements were counted where there are 10"):
        search.learn([counts])
    with pytest.raises(ValueError, match="float64 do not fit into float32"):
        counts.count(np.ones(1))
