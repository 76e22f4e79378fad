from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc_store.block import BlockForm, Codec, PackEntry
from pvc_store.ids import check_value
from pvc_store.index import BlockIndex, IndexFormatError
from tests.store.samples import BF16
from tests.store.strategies import damaged

if TYPE_CHECKING:
    import random

# Few keys, near each other and at the ends of the order, so that packs share some.
KEYS = st.sampled_from(
    [
        high.to_bytes(8) + low.to_bytes(8)
        for high in (0, 1, 255, 256, 1 << 63, (1 << 64) - 1)
        for low in (0, 1, 255, 256, 1 << 63, (1 << 64) - 1)
    ]
)
PACKS = st.dictionaries(
    st.integers(0, 5).map(lambda number: bytes([number]) * 32),
    st.lists(KEYS, min_size=1, max_size=12, unique=True),
    max_size=5,
)
Packs = dict[bytes, list[bytes]]


def at(key: bytes, pack: bytes) -> PackEntry:
    return PackEntry(BlockForm(key, 1000, Codec.RAW, BF16), 8 + pack[0], 1000, pack[0])


def entries(packs: Packs) -> list[tuple[bytes, list[PackEntry]]]:
    return [(pack, [at(key, pack) for key in sorted(keys)]) for pack, keys in packs.items()]


def expected(packs: Packs) -> list[tuple[bytes, PackEntry]]:
    first = {key: pack for pack in sorted(packs, reverse=True) for key in packs[pack]}
    return [(first[key], at(key, first[key])) for key in sorted(first)]


GOOD = BlockIndex.of(
    entries({bytes(32): [bytes(16), b"k" * 16], b"p" * 32: [b"a" * 16, b"k" * 16]})
)


@given(PACKS)
def test_an_index_finds_each_block_in_the_first_pack_that_holds_it(packs: Packs) -> None:
    index = BlockIndex.of(entries(packs))
    assert list(index) == expected(packs)
    assert len(index) == len(expected(packs))
    assert index.packs == tuple(sorted(packs))
    for pack, entry in expected(packs):
        assert index.find(entry.form.key) == (pack, entry)
        assert entry.form.key in index


@given(PACKS, KEYS)
def test_what_is_not_there_is_not_found(packs: Packs, key: bytes) -> None:
    index = BlockIndex.of(entries({pack: keys for pack, keys in packs.items() if key not in keys}))
    assert key not in index
    assert index.find(key) is None
    assert "text" not in index


@given(PACKS, st.randoms(use_true_random=False))
def test_packs_may_be_added_in_any_order_and_number(packs: Packs, order: random.Random) -> None:
    parts = entries(packs)
    order.shuffle(parts)
    cut = order.randint(0, len(parts))
    index = BlockIndex.of(parts[:cut]).plus(parts[cut:])
    assert index.to_bytes() == BlockIndex.of(entries(packs)).to_bytes()


@given(PACKS)
def test_an_index_comes_back(packs: Packs) -> None:
    data = BlockIndex.of(entries(packs)).to_bytes()
    index = BlockIndex.from_bytes(data)
    assert list(index) == expected(packs)
    assert index.to_bytes() == data
    assert list(index.plus([])) == expected(packs)


def test_an_index_has_the_bytes_that_its_format_names() -> None:
    key, pack = bytes(range(16)), bytes(32)
    body = b"PVCINDX1" + (1).to_bytes(4, "little") + (1).to_bytes(8, "little") + pack
    body += at(key, pack).to_bytes() + bytes(4)
    data = BlockIndex.of([(pack, [at(key, pack)])]).to_bytes()
    assert data == body + check_value(body).to_bytes(8, "little")


def sealed(body: bytes) -> bytes:
    return body + check_value(body).to_bytes(8, "little")


def test_each_way_to_be_malformed_is_refused() -> None:
    data = GOOD.to_bytes()
    body, records = data[:-8], 20 + 64
    one, two = body[records : records + 68], body[records + 68 : records + 136]
    huge = b"PVCINDX1" + b"\xff" * 12
    for wrong in (
        b"",
        data[:27],
        data[:-1],
        data + b"\0",
        body + bytes(8),
        sealed(b"PVCINDX2" + body[8:]),
        sealed(huge),
        sealed(huge + bytes(1000)),
        sealed(body[:20] + body[52:84] + body[20:52] + body[84:]),  # packs out of order
        sealed(body[:52] + body[20:52] + body[84:]),  # one pack twice
        sealed(body[:records] + two + one + body[records + 136 :]),  # records out of order
        sealed(body[:records] + one + one + body[records + 136 :]),  # one key twice
        sealed(body[:-4] + (2).to_bytes(4, "little")),  # of a pack that is not there
    ):
        with pytest.raises(IndexFormatError):
            BlockIndex.from_bytes(wrong)


@given(damaged(GOOD.to_bytes()))
def test_damage_is_always_noticed(data: bytes) -> None:
    if data != GOOD.to_bytes():
        with pytest.raises(IndexFormatError):
            BlockIndex.from_bytes(data)


@given(damaged(GOOD.to_bytes()[:-8]))
def test_damage_with_a_right_check_value_raises_format_errors_only(body: bytes) -> None:
    try:
        index = BlockIndex.from_bytes(sealed(body))
    except IndexFormatError:
        return
    assert index.to_bytes() == sealed(body)
