"""Norms, cosine and conflicts of two vectors, against float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc.merge.geometry import Pair, compare

if TYPE_CHECKING:
    from pvc.codec.numbers import Floats

NAN, INF = float("nan"), float("inf")


def sparse(generator: np.random.Generator, n: int, dtype: Any) -> Floats:
    tau: Floats = (generator.standard_normal(n) * (generator.random(n) < 0.6)).astype(dtype)
    return tau


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=st.integers(0, 1000), n=st.integers(0, 3000), cut=st.integers(0, 3000))
def test_agrees_with_float64(dtype: type[np.floating[Any]], seed: int, n: int, cut: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = sparse(generator, n, dtype), sparse(generator, n, dtype)
    cut = min(cut, n)
    pair = compare(a[:cut], b[:cut], cut) + compare(a[cut:], b[cut:], n - cut)
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert pair.elements == n
    assert pair.changed_a == np.count_nonzero(x)
    assert pair.changed_b == np.count_nonzero(y)
    assert pair.both == np.count_nonzero(x * y)
    assert pair.conflicts == np.count_nonzero(x * y < 0)
    assert pair.norm_a == pytest.approx(np.linalg.norm(x), rel=1e-6)
    assert pair.norm_b == pytest.approx(np.linalg.norm(y), rel=1e-6)
    assert pair.ab == pytest.approx(x @ y, rel=1e-6, abs=1e-12)


def test_shares() -> None:
    a, b = np.array([1, 2, 0, 0, 3], np.float32), np.array([1, -2, 4, 0, 0], np.float32)
    pair = compare(a, b, 5)
    assert pair == Pair(5, 3, 3, both=2, conflicts=1, aa=14.0, bb=21.0, ab=-3.0)
    assert pair.cosine == pytest.approx(-3 / np.sqrt(14 * 21))
    assert pair.conflict_share == 0.5
    assert pair.overlap == 0.5


def test_a_vector_and_itself() -> None:
    tau = np.random.default_rng(1).standard_normal(1001).astype(np.float32)
    assert compare(tau, tau, 1001).cosine == pytest.approx(1)
    assert compare(tau, -tau, 1001).cosine == pytest.approx(-1)
    assert compare(tau, -tau, 1001).conflict_share == 1
    assert abs(compare(tau, tau * 3, 1001).cosine) <= 1


def test_vector_of_zeros_needs_no_data() -> None:
    tau = np.array([1, 0, -2], np.float32)
    zeros = np.zeros(3, np.float32)
    assert compare(None, tau, 3) == compare(zeros, tau, 3) == Pair(3, changed_b=2, bb=5.0)
    assert compare(tau, None, 3) == compare(tau, zeros, 3) == Pair(3, changed_a=2, aa=5.0)
    nothing = compare(None, None, 3)
    assert nothing == compare(zeros, zeros, 3) == Pair(3)
    assert (nothing.cosine, nothing.conflict_share, nothing.overlap) == (0, 0, 0)


def test_what_is_not_finite_is_changed_but_not_summed() -> None:
    a = np.array([NAN, INF, 2, 1], np.float32)
    b = np.array([1, -1, NAN, 1], np.float32)
    assert compare(a, b, 4) == Pair(4, 4, 4, both=4, conflicts=1, aa=5.0, bb=3.0, ab=1.0)


def test_blocks_of_two_float_types() -> None:
    a, b = np.array([1, -2], np.float32), np.array([3.0, 4.0])
    assert compare(a, b, 2) == Pair(2, 2, 2, both=2, conflicts=1, aa=5.0, bb=25.0, ab=-5.0)


def test_large_numbers_keep_their_cosine() -> None:
    tau = np.full(4, 1e100)
    assert compare(tau, tau, 4).cosine == pytest.approx(1)


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="2 elements are not the 3 of the block"):
        compare(None, np.zeros(2, np.float32), 3)
