"""Differences and sums, against float64 and against their rules for special numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pvc.codec.elements import as_numbers
from pvc.merge import arithmetic

if TYPE_CHECKING:
    from pvc.codec.elements import Words
    from pvc.codec.numbers import Floats

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
TYPES: list[np.dtype[Any]] = [F32, F64]
NAN, INF = float("nan"), float("inf")


def numbers(seed: int, n: int, dtype: np.dtype[Any]) -> Floats:
    drawn: Floats = np.random.default_rng(seed).standard_normal(n).astype(dtype)
    return drawn


def words(x: Floats) -> Words:
    return as_numbers(x.view(np.uint8), np.dtype(f"<i{x.itemsize}"))


def bits(x: Floats) -> list[int]:
    found: list[int] = x.view(f"u{x.itemsize}").tolist()
    return found


@pytest.mark.parametrize("dtype", TYPES)
def test_difference_is_the_rounded_difference(dtype: np.dtype[Any]) -> None:
    result, origin = numbers(1, 3001, dtype), numbers(2, 3001, dtype)
    out = np.empty(3001, dtype)
    arithmetic.difference(words(result), words(origin), out)
    assert bits(out) == bits(result - origin)


@pytest.mark.parametrize("dtype", TYPES)
def test_equal_bits_have_no_difference(dtype: np.dtype[Any]) -> None:
    same = np.array([NAN, -NAN, INF, -INF, 0.0, -0.0, 1.0], dtype)
    out = np.full(same.size, 7, dtype)
    arithmetic.difference(words(same), words(same.copy()), out)
    assert bits(out) == [0] * same.size


def test_narrow_words_are_upper_bits() -> None:
    wide = numbers(7, 3001, F32)
    narrow = np.ascontiguousarray(wide.view("<i2")[1::2])
    upper = (narrow.astype(np.int32) << 16).view(np.float32)
    out = np.empty(3001, np.float32)
    arithmetic.difference(narrow, words(wide), out)
    assert bits(out) == bits(upper - wide)
    arithmetic.difference(narrow, narrow[::-1].copy(), out)
    assert bits(out) == bits(upper - upper[::-1])


def test_difference_of_other_special_numbers() -> None:
    result = np.array([NAN, INF, INF, 1, 0], np.float32)
    origin = np.array([1, 1, -INF, INF, NAN], np.float32)
    out = np.empty(5, np.float32)
    arithmetic.difference(words(result), words(origin), out)
    assert np.array_equal(out, [NAN, INF, INF, -INF, NAN], equal_nan=True)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1.0, -1.0, 0.3, -2.75])
def test_add_rounds_the_product_and_then_the_sum(dtype: np.dtype[Any], scale: float) -> None:
    start, tau = numbers(3, 5000, dtype), numbers(4, 5000, dtype)
    product = (np.float64(scale) * tau.astype(np.float64)).astype(dtype)
    acc, touched = start.copy(), np.zeros(5000, np.uint8)
    arithmetic.add(acc, scale, tau, touched)
    assert bits(acc) == bits(start + product)
    assert touched.tolist() == [1] * 5000


@pytest.mark.parametrize("scale", [0.5, -0.25, 0.1, 1e-40, 1e-45, 2.0**-149, 3e38, 1e300, INF, NAN])
def test_products_of_any_bits_are_rounded_once(scale: float) -> None:
    """Whether they are computed in float64 or, where that comes to the same, in float32."""
    start, tau = np.random.default_rng(5).integers(0, 1 << 32, (2, 1 << 16), np.uint32)
    start, tau = start.view(np.float32), tau.view(np.float32)
    with np.errstate(all="ignore"):
        product = (np.float64(scale) * tau.astype(np.float64)).astype(np.float32)
        expected = np.where(product == 0, start, start + product)
    acc, touched = start.copy(), np.zeros(start.size, np.uint8)
    arithmetic.add(acc, scale, tau, touched)
    number = ~np.isnan(expected)
    assert bits(acc[number]) == bits(expected[number])
    assert np.isnan(acc[~number]).all()
    assert np.array_equal(touched != 0, product != 0)


def test_product_and_sum_are_not_fused() -> None:
    acc = np.full(64, -1.0)
    x = 1 + 2.0**-30
    arithmetic.add(acc, x, np.full(64, x), np.zeros(64, np.uint8))
    assert acc.tolist() == [2.0**-29] * 64  # a fused addition would give 2^-29 + 2^-60


def test_add_leaves_what_gets_nothing() -> None:
    start = np.array([-0.0, -0.0, NAN, INF, 1, -0.0, 2], np.float32)
    tau = np.array([0.0, -0.0, 0, 0, NAN, 1e-45, 1], np.float32)
    acc, touched = start.copy(), np.array([0, 0, 0, 1, 0, 0, 0], np.uint8)
    arithmetic.add(acc, 0.25, tau, touched)  # a quarter of the least number is rounded to 0
    assert touched.tolist() == [0, 0, 0, 1, 1, 0, 1]
    untouched = [0, 1, 2, 3, 5]
    assert bits(acc[untouched]) == bits(start[untouched])
    assert np.isnan(acc[4])
    assert acc[6] == 2.25


def test_adding_and_subtracting_is_symmetric() -> None:
    tau = numbers(5, 2000, F32)
    up, down = np.zeros(2000, np.float32), np.zeros(2000, np.float32)
    arithmetic.add(up, 0.7, tau, np.zeros(2000, np.uint8))
    arithmetic.add(down, -0.7, tau, np.zeros(2000, np.uint8))
    assert bits(up) == bits(-down)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 5000])
def test_combine_is_a_sum_in_float64_rounded_once(dtype: np.dtype[Any], n: int) -> None:
    taus = numbers(6, 3 * n, dtype).reshape(3, n)
    scales = np.array([1.0, -0.5, 0.3])
    expected = np.zeros(n)
    for scale, tau in zip(scales, taus.astype(np.float64), strict=True):
        expected = expected + scale * tau
    out = np.empty(n, dtype)
    arithmetic.combine(taus, scales, 0.9, out)
    assert bits(out) == bits((0.9 * expected).astype(dtype))


def test_sizes_and_types_are_checked() -> None:
    three, four = np.zeros(3, np.float32), np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="3 words of int32 are not 4 of float32"):
        arithmetic.difference(words(four), words(three), four)
    with pytest.raises(ValueError, match="3 words of int64 are not 3 of float32"):
        arithmetic.difference(words(three), words(np.zeros(3)), three)
    with pytest.raises(ValueError, match="float64"):
        arithmetic.add(three, 1.0, np.zeros(3), np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="4 flags"):
        arithmetic.add(three, 1.0, three.copy(), np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match="not 2 rows"):
        arithmetic.combine(np.zeros((3, 3), np.float32), np.ones(2), 1.0, three)
