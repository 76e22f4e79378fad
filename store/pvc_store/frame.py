"""The file form of small objects (trees, layouts): magic, head, one zstd frame, check.

    file = magic 8 | head | length u64 | zstd frame | xxh3-64 of all before u64     (little-endian)

`length` is the size of the frame's content; it is checked against a limit before anything is
decompressed, and the frame must contain exactly as much.  `head` has a fixed size that the format
of the object defines.  The last byte of a magic is the version of its format.

Limits: MAX_CONTENT_BYTES of content, so MAX_FILE_BYTES of file.
"""

from __future__ import annotations

import struct

import zstandard

from pvc_store.errors import FormatError
from pvc_store.ids import check_value

MAGIC_BYTES = 8
MAX_CONTENT_BYTES = 256 << 20
MAX_FILE_BYTES = MAX_CONTENT_BYTES + (2 << 20)

_LEVEL = 3
_U64 = struct.Struct("<Q")


class MagicError(FormatError):
    """The file does not begin (a pack: and end) with the magic of its format."""


class NewerVersionError(FormatError):
    """The file follows a later version of its format."""

    verdict = "cannot be read"


class TruncatedFrameError(FormatError):
    """The file ends before its format does."""


class CheckError(FormatError):
    """The bytes do not have the check value that stands behind them."""


class OversizeError(FormatError):
    """There is more content than the format allows, or than the file has."""


class CompressionError(FormatError):
    """A zstd frame cannot be read, or contains another number of bytes than it should."""


def check_magic(found: bytes, magic: bytes, where: str) -> None:
    """Make sure that a file is of the format and version of `magic`.

    Raises:
        NewerVersionError: it is of the format, but of a later version.
        MagicError: it is not.
    """
    if found[:-1] == magic[:-1] and found > magic:
        raise NewerVersionError(
            where, f"its format {found!r} is newer than {magic!r}, which this version of pvc reads"
        )
    if found != magic:
        raise MagicError(where, f"it begins with {found!r}, not {magic!r}")


def pack_frame(magic: bytes, head: bytes, content: bytes, where: str) -> bytes:
    """The file form of `content`.

    Raises:
        OversizeError: it is more than the format allows.
    """
    _check_length(len(content), where)
    compressed = zstandard.ZstdCompressor(level=_LEVEL).compress(content)
    body = magic + head + _U64.pack(len(content)) + compressed
    return body + _U64.pack(check_value(body))


def unpack_frame(data: bytes, magic: bytes, head_length: int, where: str) -> tuple[bytes, bytes]:
    """Head and content of a file.

    Args:
        data: the whole file.
        magic: what it must begin with.
        head_length: bytes of the head.
        where: what the file is, for messages.

    Raises:
        MagicError, NewerVersionError, TruncatedFrameError, CheckError, OversizeError,
        CompressionError: see there.
    """
    check_magic(data[:MAGIC_BYTES], magic, where)
    start = MAGIC_BYTES + head_length + _U64.size
    if len(data) < start + _U64.size:
        raise TruncatedFrameError(where, f"{len(data)} bytes are too few")
    body, (check,) = data[: -_U64.size], _U64.unpack(data[-_U64.size :])
    if check_value(body) != check:
        raise CheckError(where, "its check value does not fit")
    (length,) = _U64.unpack_from(data, MAGIC_BYTES + head_length)
    _check_length(length, where)
    head = data[MAGIC_BYTES : MAGIC_BYTES + head_length]
    return head, decompress(body[start:], length, where)


def _check_length(length: int, where: str) -> None:
    if length > MAX_CONTENT_BYTES:
        raise OversizeError(where, f"{length} bytes exceed the limit of {MAX_CONTENT_BYTES}")


def decompress(frame: bytes, length: int, where: str) -> bytes:
    """Exactly `length` bytes out of one zstd frame, and nothing behind it.

    Raises:
        CompressionError: it cannot be read, has another length, or bytes follow it.
    """
    try:
        claimed = zstandard.frame_content_size(frame)
        if claimed != length:
            raise CompressionError(where, f"its frame claims {claimed} bytes, not {length}")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CompressionError(where, f"its zstd frame cannot be read ({error})") from None
