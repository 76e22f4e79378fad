"""The zstd compression of payloads: its level, and the windows of byte planes.

A stored block says how it is coded (docs/format/block.md) and not by which parameters: any zstd
frame can be read, so these may change between versions of pvc.
"""

from __future__ import annotations

import zstandard

LEVEL = 1
# Planes hold next to no repetitions: a small table finds the few, and is faster.  zstd codes as
# many bytes at a time as its window has, with codes of their own; planes change from byte to byte.
PLANES_HASH_LOG = 8
PLANES_WINDOW_LOG = 16


def planes_compressor() -> zstandard.ZstdCompressor:
    """A compressor of byte planes; not for several threads at once."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=PLANES_WINDOW_LOG, hash_log=PLANES_HASH_LOG
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def bytes_compressor() -> zstandard.ZstdCompressor:
    """A compressor of bytes that are not numbers; not for several threads at once."""
    return zstandard.ZstdCompressor(level=LEVEL)
