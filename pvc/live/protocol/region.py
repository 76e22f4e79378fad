"""Where the bytes of a tensor lie in live memory.

A tensor is one or several regions; each is a strided part of a storage and of the tensor.  A tensor
that lies as it is in a checkpoint is one region; a row or column shard, a part of a fused parameter
and a transposed one are described by strides.  All offsets and strides
are in bytes.

    region -> strips (rows at equal distances) -> pieces of one block (the part of them in it)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Region:
    """A strided part of a storage, and the part of a tensor that lies there.

    Attributes:
        storage: index of the storage.
        offset: first byte in the storage.
        shape: elements along each dimension.
        stride: distance in the storage of neighbours along each dimension, in bytes.
        source_offset: first byte in the tensor, as a checkpoint holds it.
        source_stride: distance in the tensor of neighbours, in bytes.
    """

    storage: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    source_offset: int
    source_stride: tuple[int, ...]

    def end(self, item: int) -> int:
        """First byte of the storage that lies behind the region; `item` is an element's size."""
        return _end(self.offset, self.shape, self.stride, item)

    def source_end(self, item: int) -> int:
        """First byte of the tensor that lies behind it."""
        return _end(self.source_offset, self.shape, self.source_stride, item)

    def nbytes(self, item: int) -> int:
        """Bytes of all its elements."""
        count = item
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True, slots=True)
class MemoryPiece:
    """Rows of equal length at equal distances.

    Attributes:
        storage: index of the storage.
        live: first byte in the storage.
        source: first byte in the tensor, or in a block of it.
        rows: how many.
        length: bytes of each.
        live_step: distance of rows in the storage.
        source_step: distance of rows in the tensor.
    """

    storage: int
    live: int
    source: int
    rows: int
    length: int
    live_step: int
    source_step: int

    def within(self, start: int, stop: int) -> Iterator[MemoryPiece]:
        """The parts of it that lie in bytes `start` to `stop` of the tensor; counted from there."""
        first = max(0, _ceil(start - self.source - self.length + 1, self.source_step))
        last = min(self.rows - 1, (stop - 1 - self.source) // self.source_step)
        while first <= last:
            row = self.source + first * self.source_step
            whole = 0
            if row >= start:
                fits = (stop - self.length - self.source) // self.source_step
                whole = max(0, min(last, fits) - first + 1)
            yield self._part(first, whole, start, stop)
            first += max(1, whole)

    def _part(self, first: int, whole: int, start: int, stop: int) -> MemoryPiece:
        live = self.live + first * self.live_step
        source = self.source + first * self.source_step
        if whole:
            rows, length, steps = whole, self.length, (self.live_step, self.source_step)
            return MemoryPiece(self.storage, live, source - start, rows, length, *steps)
        low, high = max(start, source), min(stop, source + self.length)
        length = high - low
        return MemoryPiece(
            self.storage, live + low - source, low - start, 1, length, length, length
        )


def strips(region: Region, item: int) -> Iterator[MemoryPiece]:
    """The rows of a region, as long as they can be; `item` is the size of an element."""
    if 0 in region.shape:
        return
    dims = _merged(region)
    length = item
    if dims and dims[-1][1:] == (item, item):
        length *= dims.pop()[0]
    rows, live_step, source_step = dims.pop() if dims else (1, length, length)
    for at in itertools.product(*(range(count) for count, _, _ in dims)):
        live = region.offset + sum(i * dim[1] for i, dim in zip(at, dims, strict=True))
        source = region.source_offset + sum(i * dim[2] for i, dim in zip(at, dims, strict=True))
        yield MemoryPiece(region.storage, live, source, rows, length, live_step, source_step)


def _merged(region: Region) -> list[tuple[int, int, int]]:
    """Dimensions as (count, live step, source step), outermost first, neighbours joined."""
    dims = zip(region.shape, region.stride, region.source_stride, strict=True)
    merged: list[tuple[int, int, int]] = []
    for count, live, source in sorted((dim for dim in dims if dim[0] > 1), key=lambda dim: -dim[2]):
        if merged and merged[-1][1:] == (count * live, count * source):
            merged[-1] = (merged[-1][0] * count, live, source)
        else:
            merged.append((count, live, source))
    return merged


def _end(offset: int, shape: tuple[int, ...], stride: tuple[int, ...], item: int) -> int:
    if 0 in shape:
        return offset
    return offset + item + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
