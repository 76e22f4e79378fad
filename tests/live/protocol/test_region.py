"""Regions against numpy's own strides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc.live.memory.host import HostMemory, ReplicaError, gather, pieces_of, strided
from pvc.live.protocol.manifest import LiveTensor
from pvc.live.protocol.region import Region
from pvc_store.block import BLOCK_BYTES
from pvc_store.kinds import KIND_BY_NAME

U16 = KIND_BY_NAME["U16"]


def dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    return np.empty(shape, np.uint16).strides


def read(tensor: LiveTensor, *storages: np.ndarray) -> bytes:
    memories = [HostMemory(storage.view(np.uint8).reshape(-1)) for storage in storages]
    scratch = np.empty(BLOCK_BYTES, np.uint8)
    count = tensor.block_count
    return b"".join(gather(tensor, i, memories, scratch).tobytes() for i in range(count))


def written(tensor: LiveTensor, content: np.ndarray, storage: np.ndarray) -> None:
    raw = np.ascontiguousarray(content).view(np.uint8).reshape(-1)
    memory = HostMemory(storage.view(np.uint8).reshape(-1))
    for index in range(tensor.block_count):
        block = raw[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
        for piece in pieces_of(tensor, index):
            memory.rows(piece)[...] = strided(block, piece.source, piece, piece.source_step)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.data())
def test_a_permuted_tensor(shape: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    content = np.random.default_rng(1).integers(0, 1 << 16, shape, np.uint16)
    storage = np.ascontiguousarray(content.transpose(order))
    live = storage.transpose(np.argsort(order))
    region = Region(0, 0, tuple(shape), live.strides, 0, dense(tuple(shape)))
    tensor = LiveTensor("t", U16, tuple(shape), True, (region,))
    assert read(tensor, storage) == content.tobytes()
    again = np.zeros_like(storage)
    written(tensor, content, again)
    assert np.array_equal(again, storage)


@given(st.integers(1, 3000), st.integers(2, 900), st.integers(0, 900), st.booleans())
def test_shards_of_two_ranks(rows: int, width: int, cut: int, by_column: bool) -> None:
    """Blocks cut rows anywhere; a shard of the columns holds a part of every row."""
    content = np.random.default_rng(2).integers(0, 1 << 16, (rows, width), np.uint16)
    at = 1 + cut % (width - 1) if by_column else cut % rows
    parts = [content[:, :at], content[:, at:]] if by_column else [content[:at], content[at:]]
    storages = [np.ascontiguousarray(part) for part in parts]
    regions = tuple(
        Region(
            i,
            0,
            part.shape,
            dense(part.shape),
            i * at * (2 if by_column else 2 * width),
            content.strides,
        )
        for i, part in enumerate(parts)
    )
    tensor = LiveTensor("t", U16, content.shape, True, regions)
    assert read(tensor, *storages) == content.tobytes()
    for index in range(tensor.block_count):
        pieces = pieces_of(tensor, index)
        length = min(BLOCK_BYTES, content.nbytes - index * BLOCK_BYTES)
        assert sum(piece.rows * piece.length for piece in pieces) == length


def test_replicas_must_agree_and_cover() -> None:
    content = np.arange(10, dtype=np.uint16)
    whole = Region(0, 0, (10,), (2,), 0, (2,))
    tensor = LiveTensor("t", U16, (10,), True, (whole, Region(1, 0, (4,), (2,), 6, (2,))))
    assert read(tensor, content, content[3:7].copy()) == content.tobytes()
    for regions in [tensor.regions, (Region(0, 0, (9,), (2,), 0, (2,)),)]:
        other = LiveTensor("t", U16, (10,), True, regions)
        with pytest.raises(ReplicaError, match="tensor t cannot be read"):
            read(other, content, content[:4].copy())
