"""Coverage against counting every element."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pvc.live.protocol.region import Region
from pvc.live.vllm.tracing.coverage import Coverage, Lattice, coverage, tensor_coverage
from pvc.live.vllm.tracing.overlap import overlapping

ITEM = 2


@st.composite
def views(draw: st.DrawFn, whole: np.ndarray) -> np.ndarray:
    """A part of an array, perhaps flattened before it is cut, perhaps transposed after."""
    view = whole.reshape(-1) if draw(st.booleans()) else whole
    cuts = []
    for length in view.shape:
        first = draw(st.integers(0, length - 1))
        cuts.append(slice(first, draw(st.integers(first + 1, length))))
    return view[tuple(cuts)].transpose(draw(st.permutations(range(view.ndim))))


def offset_of(view: np.ndarray, whole: np.ndarray) -> int:
    start: int = view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return start


@settings(max_examples=300)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.data())
def test_every_element_is_counted(shape: list[int], data: st.DataObject) -> None:
    whole = np.arange(math.prod(shape), dtype=np.uint16).reshape(shape)
    parts = data.draw(st.lists(views(whole), max_size=4))
    counts = np.zeros(whole.size, int)
    for part in parts:
        counts[part.reshape(-1)] += 1
    lattices = [
        Lattice(offset_of(part, whole), tuple(zip(part.shape, part.strides, strict=True)))
        for part in parts
    ]
    expected = Coverage(int(counts.min()), int(counts.max()))
    assert coverage(lattices, whole.nbytes, ITEM) == expected


@settings(max_examples=200)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_tensors_share_bytes_or_do_not(shape: list[int], data: st.DataObject) -> None:
    """What is called disjoint is, and nothing else is while strides are a tensor's own."""
    whole = np.arange(math.prod(shape), dtype=np.uint16).reshape(shape)
    parts = data.draw(st.lists(views(whole), max_size=4))
    regions = {
        str(i): (Region(0, offset_of(part, whole), part.shape, part.strides, i, part.strides),)
        for i, part in enumerate(parts)
    }
    found = overlapping(regions, dict.fromkeys(regions, ITEM))
    for i, part in enumerate(parts):
        others = [other for j, other in enumerate(parts) if j != i]
        shared = any(np.intersect1d(part.ravel(), other.ravel()).size for other in others)
        assert str(i) in found or not shared


def test_tied_tensors_do_not_overlap() -> None:
    region = Region(0, 0, (4, 4), (8, 2), 0, (8, 2))
    items = {"one": ITEM, "two": ITEM, "row": ITEM}
    assert not overlapping({"one": (region,), "two": (region,)}, items)
    row = Region(0, 8, (4,), (2,), 0, (2,))
    assert overlapping({"one": (region,), "two": (region,), "row": (row,)}, items) == items.keys()


def test_columns_lie_between_one_another() -> None:
    left, right = (Region(0, at, (4, 4), (16, 2), 0, (8, 2)) for at in (0, 8))
    assert not overlapping({"left": (left,), "right": (right,)}, {"left": ITEM, "right": ITEM})


def test_elements_of_two_sizes() -> None:
    wide = Region(0, 4, (4,), (4,), 0, (4,))
    behind, inside = (Region(0, at, (2,), (2,), 0, (2,)) for at in (20, 18))
    items = {"wide": 4, "narrow": ITEM}
    assert not overlapping({"wide": (wide,), "narrow": (behind,)}, items)
    assert overlapping({"wide": (wide,), "narrow": (inside,)}, items) == items.keys()


def test_steps_that_do_not_divide_are_not_understood() -> None:
    assert tensor_coverage([Region(0, 0, (4,), (2,), 0, (6,))], 20, ITEM) is None


def test_a_thousand_experts_are_few_cells() -> None:
    """A stacked parameter of 1000 x 4096 x 8192, on eight ranks that split the columns."""
    row, matrix = 8192 * ITEM, 4096 * 8192 * ITEM
    regions = [
        Region(rank, 0, (4096, 1024), (2048, 2), expert * matrix + rank * 2048, (row, ITEM))
        for expert in range(1000)
        for rank in range(8)
    ]
    nbytes = 1000 * matrix
    assert tensor_coverage(regions, nbytes, ITEM) == Coverage(1, 1)
    assert tensor_coverage(regions[1:], nbytes, ITEM) == Coverage(0, 1)
    assert tensor_coverage([*regions, regions[0]], nbytes, ITEM) == Coverage(1, 2)
