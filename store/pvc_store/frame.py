"""The file form of small objects (trees, layouts): magic, head, one zstd frame, check.

    file = magic 8 | head | length u64 | zstd frame | xxh3-64 of all before u64     (little-endian)

`length` is the size of the frame's content; it is checked against a limit before anything is
decompressed, and the frame must hold exactly as much.  `head` has a fixed size that the format of
the object defines.  One file form serves two formats, so both reject the same mistakes alike.
"""

from __future__ import annotations

import struct

import zstandard

from pvc_store.errors import FormatError
from pvc_store.ids import check_value

MAGIC_BYTES = 8

_U64 = struct.Struct("<Q")


class MagicError(FormatError):
    """The file does not begin with the magic of its format, or is of a newer version."""


class TruncatedError(FormatError):
    """The file ends before its format does."""


class CheckError(FormatError):
    """The bytes do not have the check value that stands behind them."""


class OversizeError(FormatError):
    """The file claims more content than the format allows, or than it holds."""


class CompressionError(FormatError):
    """A zstd frame cannot be read, or holds another amount than it claims."""


def pack_frame(magic: bytes, head: bytes, content: bytes, level: int = 3) -> bytes:
    """The file form of `content`."""
    compressed = zstandard.ZstdCompressor(level=level).compress(content)
    body = magic + head + _U64.pack(len(content)) + compressed
    return body + _U64.pack(check_value(body))


def unpack_frame(
    data: bytes, magic: bytes, head_length: int, limit: int, where: str
) -> tuple[bytes, bytes]:
    """Head and content of a file.

    Args:
        data: the whole file.
        magic: what it must begin with.
        head_length: bytes of the head.
        limit: the most content allowed, in bytes.
        where: what the file is, for messages.

    Raises:
        MagicError, TruncatedError, CheckError, OversizeError, CompressionError: see there.
    """
    if data[:MAGIC_BYTES] != magic:
        raise MagicError(where, f"it begins with {data[:MAGIC_BYTES]!r}, not {magic!r}")
    start = MAGIC_BYTES + head_length + _U64.size
    if len(data) < start + _U64.size:
        raise TruncatedError(where, f"{len(data)} bytes are too few")
    body, (check,) = data[: -_U64.size], _U64.unpack(data[-_U64.size :])
    if check_value(body) != check:
        raise CheckError(where, "its check value does not fit")
    (length,) = _U64.unpack_from(data, MAGIC_BYTES + head_length)
    if length > limit:
        raise OversizeError(where, f"it claims {length} bytes, more than the limit of {limit}")
    head = data[MAGIC_BYTES : MAGIC_BYTES + head_length]
    return head, decompress(body[start:], length, where)


def decompress(frame: bytes, length: int, where: str) -> bytes:
    """Exactly `length` bytes out of one zstd frame, and nothing behind it.

    Raises:
        OversizeError: the frame claims another size.
        CompressionError: it cannot be read, holds another amount, or bytes follow it.
    """
    try:
        claimed = zstandard.frame_content_size(frame)
        if claimed != length:
            raise OversizeError(where, f"its frame claims {claimed} bytes, not {length}")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CompressionError(where, f"its zstd frame cannot be read ({error})") from None
