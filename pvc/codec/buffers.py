"""The buffers that one thread codes blocks in.

Kernels allocate nothing.  Fresh buffers for each of thousands of blocks would cost more in page
faults than the coding itself, so every thread keeps its own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard

from pvc.codec import compression
from pvc.codec.kernels import STRIP, SUMS, StripPair
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

CACHE_LINE_BYTES = 64


def room(rows: int, columns: int, dtype: DTypeLike) -> NDArray[Any]:
    """An array for a kernel to work in; its content is undefined.

    It begins at a cache line: vectors across two lines cost some kernels a third of their speed.
    """
    nbytes = rows * columns * np.dtype(dtype).itemsize
    raw = np.empty(nbytes + CACHE_LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE_BYTES
    return raw[start : start + nbytes].view(dtype).reshape(rows, columns)


class Buffers(threading.local):
    """The buffers and zstd contexts of one thread.

    Attributes:
        front, back: a block each, in whatever form the current step leaves it.
        strips: by bytes of an element, room for a strip each of two blocks, as words and floats.
        sums: what sums over a block are added up in, float64.
        starts: where the elements of each key start, uint32.
        planes_compressor, bytes_compressor, decompressor: zstd contexts.
    """

    def __init__(self) -> None:
        self.front = room(1, BLOCK_BYTES, np.uint8)[0]
        self.back = room(1, BLOCK_BYTES, np.uint8)[0]
        self.strips = {width: _strip_pair(width) for width in (4, 8)}
        self.sums = room(3, SUMS, np.float64)
        self.starts = room(256, 4, np.uint32)
        self.planes_compressor = compression.planes_compressor()
        self.bytes_compressor = compression.bytes_compressor()
        self.decompressor = zstandard.ZstdDecompressor()


def _strip_pair(width: int) -> StripPair:
    words = room(2, STRIP, f"<i{width}")
    return words, words.view(f"<f{width}")


BUFFERS = Buffers()
