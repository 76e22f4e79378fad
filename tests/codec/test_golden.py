"""Payloads stored once decode for ever, and the planes inside them never change.

`golden/blocks.json` holds blocks as version 1 of the format stored them.  It is never rewritten:
a codec that gives other planes needs another entry in `pvc_store.block.Codec`.
"""

from __future__ import annotations

import json
import re
from hashlib import shake_128
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pytest
import zstandard

from pvc.codec import BaseBlock, block, can_be_base, decode, encode
from pvc_store.block import BLOCK_BYTES, BlockForm, Codec, EncodedBlock
from pvc_store.ids import NO_KEY, block_key
from pvc_store.kinds import BYTES, KIND_BY_CODE, KIND_BY_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Golden(TypedDict):
    codec: str
    kind: str
    base_kind: str
    part: int
    length: int
    key: str
    base_key: str
    payload: str


HERE = Path(__file__).parent
BLOCKS: list[Golden] = json.loads((HERE / "golden" / "blocks.json").read_text())
KINDS = {**KIND_BY_NAME, "BYTES": BYTES}


def low_bits(label: str, size: int) -> NDArray[np.uint8]:
    """Bytes between 0 and 7, which compress, and which no library's random numbers determine."""
    return np.frombuffer(shake_128(label.encode()).digest(size), np.uint8) & np.uint8(7)


def inputs(golden: Golden) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The raw bytes of a golden block, and those of its base."""
    raw = low_bits(f"{golden['kind']} over {golden['base_kind']}", golden["length"])
    ratio = max(1, KINDS[golden["kind"]].bits // KINDS[golden["base_kind"]].bits)
    start = golden["part"] * (BLOCK_BYTES // ratio)
    base = np.zeros(start + golden["length"] // ratio, np.uint8)
    base[start:] = low_bits(f"base of {golden['kind']}", base.size - start)
    return raw, base


def name(golden: Golden) -> str:
    return "-".join([golden["codec"], golden["kind"], golden["base_kind"]])


def form_of(golden: Golden) -> BlockForm:
    return BlockForm(
        bytes.fromhex(golden["key"]),
        golden["length"],
        Codec[golden["codec"]],
        KINDS[golden["kind"]],
        bytes.fromhex(golden["base_key"]),
        KINDS[golden["base_kind"]],
        golden["part"],
    )


@pytest.mark.parametrize("golden", BLOCKS, ids=name)
def test_golden_payloads_decode(golden: Golden) -> None:
    raw, base = inputs(golden)
    out = np.zeros(golden["length"], np.uint8)
    decode(EncodedBlock(form_of(golden), bytes.fromhex(golden["payload"])), base, out)
    assert np.array_equal(out, raw)


@pytest.mark.parametrize("golden", [b for b in BLOCKS if b["codec"] != "RAW"], ids=name)
def test_golden_planes_are_written(golden: Golden) -> None:
    """Before zstd, whose output may differ from version to version; so may the choice of form."""
    raw, base_raw = inputs(golden)
    key, kind = block_key(raw.data), KINDS[golden["kind"]]
    if golden["codec"] == "PLANES":
        encoded: EncodedBlock | None = block._encode_planes(raw, key, kind)
    else:
        base_key = block_key(base_raw.data)
        base = BaseBlock(base_raw, base_key, KINDS[golden["base_kind"]], golden["part"])
        encoded = block._encode_delta(raw, key, kind, base)
    assert encoded is not None
    assert encoded.form == form_of(golden)
    planes = zstandard.decompress(bytes(encoded.payload))
    assert planes == zstandard.decompress(bytes.fromhex(golden["payload"]))


def test_every_stored_form_has_a_golden_block() -> None:
    found = {(b["codec"], b["kind"], b["base_kind"]) for b in BLOCKS}
    deltas = {
        ("DELTA", kind.name, base.name)
        for kind in KIND_BY_CODE.values()
        for base in KIND_BY_CODE.values()
        if can_be_base(base, kind)
    }
    planes = {("PLANES", kind.name, "BYTES") for kind in KIND_BY_CODE.values()}
    assert found == deltas | planes | {("RAW", "BYTES", "BYTES")}
    assert all((b["codec"] == "DELTA") == (b["base_key"] != NO_KEY.hex()) for b in BLOCKS)


def test_the_example_in_the_format_page() -> None:
    page = (HERE.parents[1] / "docs" / "format" / "block.md").read_text()
    dumps = dict(re.findall(r"```hex (\w+)\n(.*?)```", page, re.DOTALL))
    base, raw, planes, payload = (
        bytes.fromhex(dumps[label]) for label in ("base", "raw", "planes", "payload")
    )
    kind = KIND_BY_NAME["BF16"]
    key, base_key = block_key(raw), block_key(base)
    assert key.hex() in page
    assert base_key.hex() in page
    assert zstandard.decompress(payload) == planes
    form = BlockForm(key, 64, Codec.DELTA, kind, base_key, kind)
    out = np.zeros(64, np.uint8)
    decode(EncodedBlock(form, payload), np.frombuffer(base, np.uint8), out)
    assert out.tobytes() == raw
    encoded = encode(
        np.frombuffer(raw, np.uint8), kind, BaseBlock(np.frombuffer(base, np.uint8), base_key, kind)
    )
    assert encoded.form == form
    assert zstandard.decompress(bytes(encoded.payload)) == planes
