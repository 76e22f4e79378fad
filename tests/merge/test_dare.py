"""DARE, against the paper (arXiv 2311.03099) written in float64, with Philox in plain Python."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pvc.merge.method import Facts, Rule, TauBlock
from pvc.merge.methods import rule
from tests.merge.test_ties import F32, INF, NAN, Array, column, tie_free
from tests.support.philox import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvc.codec.numbers import Floats

METHODS = ("dare_linear", "dare_ties")
SCALES = (1.0, -0.8, 0.37, 0.9, -0.11, 1.0, 0.61, 0.5)
TENSOR = "model.layers.0.mlp.up_proj.weight"


def identity(row: int) -> bytes:
    return bytes([row]) * 32


@cache
def kept(seed: int, tensor: str, row: int, first: int, n: int, density: float) -> Array:
    """1 where an element is kept."""
    found = np.array(words(seed, tensor, identity(row), range(first, first + n)))
    return np.where(found / 2**32 < int(density * 2**32) / 2**32, 1.0, 0.0)


def reference(
    method: str, taus: Array, scales: Sequence[float], masks: Array, given: dict[str, Any]
) -> Array:
    """Drop, rescale, and task arithmetic or TIES; the consensus and sum of mergekit."""
    deltas = np.where(masks == 1, taus, 0) / given["density"]
    values = np.array(scales)[:, None] * deltas
    if method == "dare_ties":
        sign = np.where(values.sum(axis=0) >= 0, 1.0, -1.0)
        values = np.where(np.sign(values) == sign, values, 0)
    result: Array = given.get("lambda", 1.0) * values.sum(axis=0)
    return result


def merged(
    how: Rule, taus: Floats, scales: Sequence[float], first: int = 0, tensor: str = TENSOR
) -> Floats:
    out = np.empty(taus.shape[1], taus.dtype)
    block = TauBlock(taus.copy(), np.array(scales), tensor, first, identity, Facts())
    how.method.kernel(block, how, out)
    return out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [1, 2, 3, 8])
@pytest.mark.parametrize("density", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_agrees_with_the_paper(method: str, k: int, density: float, dtype: str) -> None:
    n, first = 1237, 4096
    given = {"density": density, "lambda": 0.9, "seed": 1234567890}
    taus = tie_free(k, k, n).astype(dtype)
    result = merged(rule(method, given), taus, SCALES[:k], first)
    masks = np.stack([kept(given["seed"], TENSOR, row, first, n, density) for row in range(k)])
    expected = reference(method, taus.astype(np.float64), SCALES[:k], masks, given)
    assert 0.7 * density < masks.mean() < 1.3 * density
    assert np.abs(result - expected).max() <= 1e-7 * np.abs(expected).max()
    assert np.array_equal(result == 0, expected == 0)


@pytest.mark.parametrize("method", METHODS)
def test_blocks_do_not_matter(method: str) -> None:
    how = rule(method, {"density": 0.3, "seed": 5})
    taus = tie_free(1, 3, 40_000)
    whole = merged(how, taus, SCALES[:3])
    for cut in (4, 16_384, 39_996):
        parts = merged(how, taus[:, :cut], SCALES[:3]), merged(how, taus[:, cut:], SCALES[:3], cut)
        assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("method", METHODS)
def test_the_expectation_is_that_of_all_elements(method: str) -> None:
    """Over many seeds the mean of DARE-linear is the sum, and its variance the binomial one.

    Where all votes have one sign, as here, an election changes nothing.
    """
    n, seeds, density = 2000, 400, 0.3
    taus = np.abs(tie_free(3, 2, n).astype(np.float64))
    scales = np.array([1.0, 0.7])
    found = np.array(
        [
            merged(rule(method, {"density": density, "seed": seed}), taus, [*scales])
            for seed in range(seeds)
        ]
    )
    exact = (scales[:, None] * taus).sum(axis=0)
    deviation = np.sqrt((1 - density) / density * ((scales[:, None] * taus) ** 2).sum(axis=0))
    scores = (found.mean(axis=0) - exact) / (deviation / np.sqrt(seeds))
    assert abs(scores.mean()) < 5 / np.sqrt(n)  # 2 % too much or too little would be 50 times that
    assert abs((scores**2).mean() - 1) < 5 * np.sqrt(2 / n)
    assert np.abs(scores).max() < 6


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_at_density_1_dare_linear_is_the_sum(dtype: str) -> None:
    taus = tie_free(4, 3, 5000).astype(dtype)
    whole = merged(rule("dare_linear", {"density": 1.0, "lambda": 0.7}), taus, SCALES[:3])
    assert np.array_equal(whole, merged(rule("sum", {"lambda": 0.7}), taus, SCALES[:3]))


@pytest.mark.parametrize("compat", [None, "mergekit"])
def test_at_density_1_dare_ties_is_ties_without_trimming(compat: str | None) -> None:
    """Where one vector alone agrees; where more do, it is that many times the mean."""
    taus = tie_free(5, 3, 5000)
    given = {"density": 1.0, "lambda": 0.7}
    whole = merged(rule("dare_ties", given), taus, (1.0, 1.0, 1.0))
    out = np.empty(5000, F32)
    how = rule("ties", {**given, "compat": compat})
    facts = Facts((0.0, 0.0, 0.0), 1)
    how.method.kernel(TauBlock(taus, np.ones(3), TENSOR, 0, identity, facts), how, out)
    agreeing = (np.sign(taus) == np.sign(out)).sum(axis=0)
    assert np.array_equal(whole[agreeing == 1], out[agreeing == 1])
    assert np.allclose(whole, out * agreeing, rtol=1e-6, atol=0)
    assert {1, 2, 3} <= set(agreeing.tolist())


@pytest.mark.parametrize("method", METHODS)
def test_what_is_dropped_is_independent_of_scales_rows_and_names(method: str) -> None:
    how = rule(method, {"density": 0.5, "seed": 3})
    tau = np.ones((1, 4096), np.float32)
    once = merged(how, tau, [1.0])
    assert set(once.tolist()) == {0.0, 2.0}
    assert np.array_equal(merged(how, tau, [-0.25]), -0.25 * once)
    assert np.array_equal(merged(how, np.stack([tau[0], 0 * tau[0]]), [1.0, 1.0]), once)
    for other in (
        merged(rule(method, {"density": 0.5, "seed": 4}), tau, [1.0]),
        merged(how, tau, [1.0], tensor="another"),
        merged(how, tau, [1.0], first=4096),
        merged(how, np.stack([0 * tau[0], tau[0]]), [1.0, 1.0]),  # the second vector
    ):
        assert 0.45 < (other == once).mean() < 0.55


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("odd", [NAN, INF])
def test_numbers_that_are_none(method: str, odd: float) -> None:
    """They are dropped like others, and stay what they are where they are kept."""
    how = rule(method, {"density": 0.5})
    taus = np.full((1, 4096), odd, np.float32)
    result, once = merged(how, taus, [1.0]), merged(how, np.ones_like(taus), [1.0])
    assert np.array_equal(result[once == 0], once[once == 0])
    assert np.array_equal(result[once > 0], taus[0][once > 0], equal_nan=True)


@pytest.mark.parametrize(
    ("values", "scales", "linear", "ties"),
    [
        ([3, 1, -2], [1, 1, 1], 2, 4),
        ([3, 1, -5], [1, 1, 1], -1, -5),
        ([3, -1], [1, 4], -1, -4),  # scaled values are elected
        ([3, 1], [-2, -1], -7, -7),  # nothing is divided: signs are kept
        ([2, -2], [1, 1], 0, 2),  # a sum of 0 is positive
        ([3, 1], [0, 1], 1, 1),
        ([0, 0], [1, 1], 0, 0),
        ([2, NAN], [1, 1], NAN, NAN),
        ([INF, -INF], [1, 1], NAN, NAN),
        ([INF, -1], [1, 1], INF, INF),
    ],
)
def test_single_elements(
    values: list[float], scales: list[float], linear: float, ties: float
) -> None:
    taus = column(*values, dtype=np.float64)
    found = [merged(rule(method, {"density": 1.0}), taus, scales)[0] for method in METHODS]
    assert np.array_equal(found, [linear, ties], equal_nan=True)
