from __future__ import annotations

import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pvc_store.errors import FormatError
from pvc_store.frame import (
    MAX_CONTENT_BYTES,
    MAX_FILE_BYTES,
    CheckError,
    CompressionError,
    MagicError,
    NewerVersionError,
    OversizeError,
    TruncatedFrameError,
    pack_frame,
    unpack_frame,
)
from tests.store.samples import frame, seal
from tests.store.strategies import damaged

MAGIC = b"PVCTEST1"
GOOD = pack_frame(MAGIC, b"head", b"content" * 9, "A test")


def unpack(data: bytes) -> tuple[bytes, bytes]:
    return unpack_frame(data, MAGIC, 4, "A test")


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=2000))
def test_a_frame_comes_back(head: bytes, content: bytes) -> None:
    assert unpack(pack_frame(MAGIC, head, content, "A test")) == (head, content)


def test_each_way_to_be_malformed_has_its_error() -> None:
    body, content = GOOD[:-8], b"content" * 9
    compressed = zstandard.ZstdCompressor().compress(content)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(content)
    start = MAGIC + b"head" + len(content).to_bytes(8, "little")
    for error, data in (
        (MagicError, b""),
        (MagicError, GOOD[:7]),
        (MagicError, b"PVCTREE1" + GOOD[8:]),
        (MagicError, seal(b"PVCTEST0" + body[8:])),
        (NewerVersionError, seal(b"PVCTEST2" + body[8:])),
        (NewerVersionError, b"PVCTEST9 whatever follows in that version"),
        (TruncatedFrameError, GOOD[:8]),
        (TruncatedFrameError, GOOD[:27]),
        (CheckError, GOOD[:-1]),
        (CheckError, GOOD + b"\0"),
        (CheckError, body + bytes(8)),
        (OversizeError, frame(MAGIC, b"head", b"", MAX_CONTENT_BYTES + 1)),
        (OversizeError, frame(MAGIC, b"head", b"", (1 << 64) - 1)),
        (CompressionError, frame(MAGIC, b"head", content, len(content) - 1)),
        (CompressionError, frame(MAGIC, b"head", content, len(content) + 1)),
        (CompressionError, seal(start)),
        (CompressionError, seal(start + unsized)),
        (CompressionError, seal(start + compressed[:-1])),
        (CompressionError, seal(start + compressed + b"\0")),
        (CompressionError, seal(start + compressed + compressed)),
        (CompressionError, seal(start + b"no zstd at all")),
    ):
        with pytest.raises(error) as caught:
            unpack(data)
        assert type(caught.value) is error, data
        assert isinstance(caught.value, FormatError)


def test_a_newer_version_is_called_so() -> None:
    with pytest.raises(NewerVersionError) as caught:
        unpack(b"PVCTEST2" + GOOD[8:])
    assert str(caught.value) == (
        "A test cannot be read: its format b'PVCTEST2' is newer than b'PVCTEST1', "
        "which this version of pvc reads."
    )


def test_a_claim_is_checked_before_memory_is_taken() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(300 << 20))
    tracemalloc.start()
    try:
        for length in (MAX_CONTENT_BYTES + 1, 300 << 20, 100, MAX_CONTENT_BYTES):
            data = seal(MAGIC + b"head" + length.to_bytes(8, "little") + bomb)
            with pytest.raises((OversizeError, CompressionError)):
                unpack(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_more_than_the_limit_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pvc_store.frame.MAX_CONTENT_BYTES", 100)
    assert len(unpack(pack_frame(MAGIC, b"head", bytes(100), "A test"))[1]) == 100
    with pytest.raises(OversizeError, match="A test is malformed: 101 bytes exceed"):
        pack_frame(MAGIC, b"head", bytes(101), "A test")


def test_the_limit_of_files_allows_for_content_that_does_not_compress() -> None:
    # The worst case of zstd, as its manual gives it: one part in 256, and some bytes.
    assert MAX_CONTENT_BYTES + MAX_CONTENT_BYTES // 256 + 128 <= MAX_FILE_BYTES


@given(damaged(GOOD))
def test_damage_is_always_noticed(data: bytes) -> None:
    if data != GOOD:
        with pytest.raises(FormatError):
            unpack(data)


@given(damaged(GOOD[:-8]))
def test_damage_with_a_right_check_value_raises_format_errors_only(body: bytes) -> None:
    try:
        head, content = unpack(seal(body))
    except FormatError:
        return
    assert len(head) == 4
    assert len(content) <= 2 * len(GOOD) + 100
