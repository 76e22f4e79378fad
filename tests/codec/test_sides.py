"""Sides of elements, against the same counts made element by element with numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc.codec import SideCounts, count_sides
from pvc_store.kinds import KIND_BY_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTEGERS = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


def expected(
    one: NDArray[np.generic], two: NDArray[np.generic], new: NDArray[np.generic]
) -> SideCounts:
    counts = dict.fromkeys(SideCounts.__slots__, 0)
    for a, b, c in zip(one.tolist(), two.tolist(), new.tolist(), strict=True):
        if a == b:
            counts["outside"] += c != a
            continue
        counts["differing"] += 1
        low, high = min(a, b), max(a, b)
        if c in (a, b):
            counts["one" if c == a else "two"] += 1
        elif low < c < high:
            counts["between"] += 1
        else:
            counts["behind" if (c < low) == (a == low) else "ahead"] += 1
    return SideCounts(**counts)


@pytest.mark.parametrize(("kind", "dtype"), [*INTEGERS.items(), *FLOATS.items()])
@pytest.mark.parametrize("size", [0, 1, 95, 97, 1023, 4099])
def test_counts(kind: str, dtype: str, size: int) -> None:
    random = np.random.default_rng(size)
    one, two, new = (random.integers(-3, 3, size).astype(dtype) + 0 for _ in range(3))
    if kind in FLOATS:  # of both signs, and without -0, which equals 0 as a number only
        one, two, new = (each / np.dtype(dtype).type(7) + np.dtype(dtype).type(0) for each in
                         (one, two, new))  # fmt: skip
    found = count_sides(
        one.view(np.uint8), two.view(np.uint8), new.view(np.uint8), KIND_BY_NAME[kind]
    )
    assert found == expected(one, two, new)


def test_every_element_of_a_full_block_is_counted() -> None:
    """Counters are as wide as an element: they may not overflow."""
    for kind in ("I8", "BF16", "F32"):
        zero, ones = np.zeros(1 << 20, np.uint8), np.full(1 << 20, 1, np.uint8)
        elements = (1 << 23) // KIND_BY_NAME[kind].bits
        found = count_sides(zero, ones, ones, KIND_BY_NAME[kind])
        assert found == SideCounts(differing=elements, two=elements)
        assert count_sides(zero, zero, ones, KIND_BY_NAME[kind]) == SideCounts(outside=elements)


def test_patterns_count_not_values() -> None:
    zero, nan = np.array([0.0, np.nan], "<f4").view(np.uint8).reshape(2, 4)
    minus = np.array([-0.0], "<f4").view(np.uint8)
    kind = KIND_BY_NAME["F32"]
    assert count_sides(zero, minus, minus, kind) == SideCounts(differing=1, two=1)
    assert count_sides(nan, zero, nan, kind) == SideCounts(differing=1, one=1)


def test_sizes_have_to_agree() -> None:
    with pytest.raises(ValueError, match="blocks of 4, 4 and 8 bytes"):
        count_sides(
            np.zeros(4, np.uint8), np.zeros(4, np.uint8), np.zeros(8, np.uint8), KIND_BY_NAME["F32"]
        )
