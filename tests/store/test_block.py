from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc_store.block import BLOCK_BYTES, BlockForm, Codec, EntryError, PackEntry
from pvc_store.kinds import BYTES, KIND_BY_NAME
from tests.store.samples import BF16, F32
from tests.store.strategies import damaged

KEY, BASE = bytes(range(16)), bytes(range(16, 32))
RAW = PackEntry(BlockForm(KEY, 1000, Codec.RAW, BF16), 8, 1000, 5)
PLANES = PackEntry(BlockForm(KEY, BLOCK_BYTES, Codec.PLANES, BYTES), 1 << 40, 1, (1 << 64) - 1)
DELTA = PackEntry(BlockForm(KEY, 1000, Codec.DELTA, F32, BASE, BF16, 1), 8, 999, 5)


def changed(entry: PackEntry, at: int, data: bytes) -> bytes:
    whole = entry.to_bytes()
    return whole[:at] + data + whole[at + len(data) :]


@given(
    key=st.binary(min_size=16, max_size=16).filter(lambda key: key != b"\xff" * 16),
    raw_length=st.integers(1, BLOCK_BYTES),
    kind=st.sampled_from([BYTES, *KIND_BY_NAME.values()]),
    offset=st.integers(0, (1 << 64) - 1),
    data=st.data(),
)
def test_an_entry_comes_back(
    key: bytes, raw_length: int, kind: object, offset: int, data: st.DataObject
) -> None:
    assert isinstance(kind, type(BYTES))
    codec = data.draw(st.sampled_from(Codec))
    form = BlockForm(key, raw_length, codec, kind)
    length = raw_length if codec is Codec.RAW else data.draw(st.integers(1, raw_length))
    if codec is Codec.DELTA:
        base = bytes(byte ^ 0xFF for byte in key)
        form = BlockForm(key, raw_length, codec, kind, base, kind)
    entry = PackEntry(form, offset, length, data.draw(st.integers(0, (1 << 64) - 1)))
    assert len(entry.to_bytes()) == 64
    assert PackEntry.from_bytes(memoryview(entry.to_bytes()), "here") == entry


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "an entry has 0 bytes"),
        (RAW.to_bytes() + b"\0", "an entry has 65 bytes"),
        (changed(RAW, 56, b"\x03"), "codec 3 is unknown"),
        (changed(RAW, 57, b"\x0a"), "numeric kind 10 or 0 is unknown"),
        (changed(DELTA, 58, b"\xff"), "numeric kind 18 or 255 is unknown"),
        (changed(RAW, 63, b"\x01"), "padding"),
        (changed(PLANES, 44, bytes(4)), "a block of 0 bytes is impossible"),
        (changed(PLANES, 44, (BLOCK_BYTES + 1).to_bytes(4, "little")), "1048577 bytes"),
        (changed(PLANES, 40, bytes(4)), "0 stored bytes for"),
        (changed(DELTA, 40, b"\xff\xff\xff\xff"), "4294967295 stored bytes for 1000"),
        (changed(RAW, 40, b"\x01\0\0\0"), "a RAW block of 1000 bytes has 1 stored bytes"),
        (changed(DELTA, 56, b"\x01"), "PLANES and the base key contradict"),
        (changed(DELTA, 16, bytes(16)), "DELTA and the base key contradict"),
        (changed(RAW, 58, b"\x10"), "RAW has a base kind or part"),
        (changed(PLANES, 59, b"\x01"), "PLANES has a base kind or part"),
        (changed(DELTA, 16, KEY), "its own base"),
        (changed(DELTA, 59, b"\x02"), "part 2 lies outside"),
    ],
)
def test_a_malformed_entry_is_refused(data: bytes, detail: str) -> None:
    with pytest.raises(EntryError, match=detail) as caught:
        PackEntry.from_bytes(data, "Pack 12")
    assert caught.value.what == "Pack 12"
    assert str(caught.value).startswith("Pack 12 is malformed: ")


@given(st.sampled_from([RAW, PLANES, DELTA]).flatmap(lambda entry: damaged(entry.to_bytes())))
def test_any_bytes_are_an_entry_or_refused(data: bytes) -> None:
    try:
        entry = PackEntry.from_bytes(data, "here")
    except EntryError:
        return
    assert entry.to_bytes() == data
