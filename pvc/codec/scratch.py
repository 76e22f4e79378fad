"""The buffers of one thread.

Blocks are coded by the thousand, and fresh buffers for each would cost more in page faults than
the coding itself; so every thread keeps its own.
"""

from __future__ import annotations

import threading

import numpy as np
import zstandard

from pvc_store.block import BLOCK_BYTES

ZSTD_LEVEL = 1
# Planes hold next to no repetitions: a small table finds the few, and is faster.  zstd codes as
# many bytes at a time as its window has, with codes of their own; planes change from byte to byte.
PLANES_HASH_LOG = 8
PLANES_WINDOW_LOG = 16


class Scratch(threading.local):
    """What a thread needs to code blocks, besides the order of its last base block.

    Attributes:
        front, back: a block each, in whatever form the current step leaves it.
        planes_compressor, bytes_compressor, decompressor: zstd contexts.
    """

    def __init__(self) -> None:
        self.front = np.empty(BLOCK_BYTES, np.uint8)
        self.back = np.empty(BLOCK_BYTES, np.uint8)
        planes = zstandard.ZstdCompressionParameters.from_level(
            ZSTD_LEVEL, window_log=PLANES_WINDOW_LOG, hash_log=PLANES_HASH_LOG
        )
        self.planes_compressor = zstandard.ZstdCompressor(compression_params=planes)
        self.bytes_compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


SCRATCH = Scratch()
