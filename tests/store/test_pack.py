from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pvc_store import pack
from pvc_store.block import BLOCK_BYTES, BlockForm, Codec, EncodedBlock, EntryError, PackEntry
from pvc_store.errors import DamageError, FormatError
from pvc_store.frame import (
    CheckError,
    CompressionError,
    MagicError,
    NewerVersionError,
    OversizeError,
    TruncatedFrameError,
)
from pvc_store.ids import check_value, object_id
from pvc_store.pack import (
    FooterError,
    PackPayloadError,
    PackWriter,
    file_digest,
    read_footer,
    read_payload,
)
from tests.store.samples import (
    BF16,
    delta_block,
    entry,
    pack_file,
    planes_block,
    raw_block,
    raw_bytes,
    reading,
)
from tests.store.strategies import damaged

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = raw_block(1, 30), raw_block(2, 20)
PAYLOADS = bytes(ONE.payload) + bytes(TWO.payload)
ENTRIES = sorted([entry(ONE, 8), entry(TWO, 38)], key=lambda each: each.form.key)
GOOD = pack_file(PAYLOADS, ENTRIES)
SCRATCH = memoryview(bytearray(BLOCK_BYTES))


def footer_of(data: bytes) -> tuple[PackEntry, ...]:
    """The entries of a pack that is given as bytes."""
    return read_footer(reading(data), len(data), "Pack 12")


def written(path: Path) -> bytes:
    writer = PackWriter(path)
    base = raw_block(3)
    for block in (base, planes_block(4), delta_block(5, base)):
        writer.append(block)
    assert writer.finish() == object_id(path.read_bytes())
    return path.read_bytes()


def test_a_pack_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "0.pack"
    data = written(path)
    entries = footer_of(data)
    base = raw_block(3)
    blocks = {block.form.key: block for block in (base, planes_block(4), delta_block(5, base))}
    assert [each.form.key for each in entries] == sorted(blocks)
    for each in entries:
        assert each.form == blocks[each.form.key].form
        payload = read_payload(reading(data), each, SCRATCH, "here")
        assert bytes(payload) == bytes(blocks[each.form.key].payload)
    read: list[int] = []
    assert file_digest(reading(data), read.append) == object_id(data)
    assert sum(read) == len(data)


def test_a_pack_is_no_pack_before_it_is_finished(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path / "0.pack")
    writer.append(raw_block(1))
    with pytest.raises(FormatError):
        footer_of(writer.path.read_bytes())
    writer.close()
    writer.close()
    with pytest.raises(FileExistsError):
        PackWriter(tmp_path / "0.pack")


def test_each_way_to_be_malformed_has_its_error() -> None:
    key_order = [replace(each) for each in reversed(ENTRIES)]
    first, second = ENTRIES
    for error, data in (
        (TruncatedFrameError, b""),
        (TruncatedFrameError, b"PVCPACK1"[:7]),
        (TruncatedFrameError, b"PVCPACK1"),
        (TruncatedFrameError, b"PVCPACK1" + bytes(23)),
        (MagicError, bytes(32)),
        (MagicError, b"PVCTREE1" + GOOD[8:]),
        (MagicError, GOOD[:-1]),
        (MagicError, GOOD + b"\0"),
        (MagicError, GOOD[:-8] + b"PVCPACK2"),
        (NewerVersionError, b"PVCPACK2" + GOOD[8:-8] + b"PVCPACK2"),
        (OversizeError, pack_file(PAYLOADS, ENTRIES, claim=(1 << 64) - 1)),
        (OversizeError, pack_file(PAYLOADS, ENTRIES, claim=len(GOOD) - 31)),
        (CheckError, pack_file(PAYLOADS, ENTRIES, claim=10)),
        (CheckError, GOOD[:-16] + bytes(8) + GOOD[-8:]),
        (FooterError, pack_file(b"", [])),
        (FooterError, pack_file(PAYLOADS, [])),
        (FooterError, pack_file(PAYLOADS, [first.to_bytes()[:-1]])),
        (FooterError, pack_file(PAYLOADS, key_order)),
        (FooterError, pack_file(PAYLOADS, [first, first])),
        (FooterError, pack_file(PAYLOADS, [first])),
        (FooterError, pack_file(PAYLOADS, [second])),
        (FooterError, pack_file(PAYLOADS + b"x", ENTRIES)),
        (FooterError, pack_file(b"x" + PAYLOADS, ENTRIES)),
        (FooterError, pack_file(PAYLOADS[:-1], ENTRIES)),
        (FooterError, pack_file(PAYLOADS, [replace(first, offset=0), second])),
        (FooterError, pack_file(PAYLOADS, [replace(first, offset=(1 << 64) - 1), second])),
        (FooterError, pack_file(PAYLOADS, [replace(first, offset=second.offset), second])),
        (EntryError, pack_file(PAYLOADS, [first, second.to_bytes()[:-1] + b"\1"])),
        (CompressionError, pack_file(PAYLOADS, ENTRIES, end=b"\0")),
    ):
        with pytest.raises(error) as caught:
            footer_of(data)
        assert type(caught.value) is error, data
        assert caught.value.what == "Pack 12"


def sealed_footer(footer: bytes) -> bytes:
    trailer = len(footer).to_bytes(8, "little") + check_value(footer).to_bytes(8, "little")
    return b"PVCPACK1" + PAYLOADS + footer + trailer + b"PVCPACK1"


def test_a_footer_that_is_no_good_frame_is_refused() -> None:
    content = b"".join(each.to_bytes() for each in ENTRIES)
    for error, footer in (
        (FooterError, b""),
        (FooterError, b"no zstd at all"),
        (FooterError, zstandard.ZstdCompressor(write_content_size=False).compress(content)),
        (CompressionError, zstandard.ZstdCompressor().compress(content)[:-1]),
    ):
        with pytest.raises(error):
            footer_of(sealed_footer(footer))


def test_a_small_pack_cannot_ask_for_much_memory() -> None:
    sizes = (64 << 6, 8 << 20, 300 << 20)  # more entries than bytes of payload, or than the limit
    bombs = [zstandard.ZstdCompressor().compress(bytes(size)) for size in sizes]
    tracemalloc.start()
    try:
        for bomb in bombs:
            with pytest.raises(FooterError):
                footer_of(sealed_footer(bomb))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_pack_beyond_its_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_PACK_BYTES", len(GOOD))
    assert footer_of(GOOD) == tuple(ENTRIES)
    monkeypatch.setattr(pack, "MAX_PACK_BYTES", len(GOOD) - 1)
    with pytest.raises(OversizeError):
        footer_of(GOOD)
    monkeypatch.undo()
    monkeypatch.setattr(pack, "MAX_ENTRIES", 1)
    with pytest.raises(FooterError):
        footer_of(GOOD)


def test_a_pack_never_has_more_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "MAX_PACK_BYTES", 20_000)
    for length in (1, 7, 500, 4000):
        path, seeds = tmp_path / f"{length}.pack", itertools.count()
        writer = PackWriter(path)
        while writer.has_room(length):
            form = BlockForm(raw_bytes(next(seeds), 16), 5000, Codec.PLANES, BF16)
            writer.append(EncodedBlock(form, raw_bytes(1, length)))
        writer.finish()
        assert path.stat().st_size <= 20_000
        assert len(footer_of(path.read_bytes())) >= 4


def test_a_payload_is_checked() -> None:
    first = ENTRIES[0]
    for wrong in (replace(first, check=first.check ^ 1), replace(first, offset=9)):
        with pytest.raises(PackPayloadError, match="does not have its check value"):
            read_payload(reading(GOOD), wrong, SCRATCH, "here")
    with pytest.raises(PackPayloadError, match="cut short"):
        read_payload(reading(GOOD[:40]), replace(first, offset=38), SCRATCH, "here")


def test_a_pack_that_shrinks_while_it_is_read_is_told() -> None:
    with pytest.raises(TruncatedFrameError):
        read_footer(reading(GOOD[:20]), len(GOOD), "here")


@given(damaged(GOOD))
def test_damage_raises_damage_errors_only(data: bytes) -> None:
    try:
        entries = footer_of(data)
    except FormatError:
        return
    # The footer is unharmed; so every payload has its place, and says itself whether it is sound.
    assert entries == tuple(ENTRIES)
    for each in entries:
        try:
            payload = read_payload(reading(data), each, SCRATCH, "here")
        except DamageError:
            continue
        assert bytes(payload) in (ONE.payload, TWO.payload)


@given(
    damaged(b"".join(each.to_bytes() for each in ENTRIES)), st.sampled_from([PAYLOADS, b"", b"x"])
)
def test_damaged_entries_raise_format_errors_only(content: bytes, payloads: bytes) -> None:
    try:
        entries = footer_of(pack_file(payloads, [content]))
    except FormatError:
        return
    assert b"".join(each.to_bytes() for each in entries) == content
    assert sum(each.length for each in entries) == len(payloads)


@given(damaged(zstandard.ZstdCompressor().compress(b"".join(e.to_bytes() for e in ENTRIES))))
def test_a_damaged_frame_raises_format_errors_only(footer: bytes) -> None:
    try:
        entries = footer_of(sealed_footer(footer))
    except FormatError:
        return
    assert sum(each.length for each in entries) == len(PAYLOADS)
