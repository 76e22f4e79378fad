"""Files that were written once and must be readable for ever, and the pages that describe them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from pvc_store import block, frame, layout, pack, tree
from pvc_store.block import BLOCK_BYTES
from pvc_store.frame import unpack_frame
from pvc_store.ids import object_id, parse_id
from pvc_store.index import BlockIndex
from pvc_store.layout import Layout
from pvc_store.pack import PackWriter, read_footer, read_payload
from pvc_store.tree import Tree
from tests.store.golden.make import BLOCKS, CHANGED_TREE, SMALL_LAYOUT, SMALL_TREE
from tests.store.samples import no_file, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parent / "golden"
PAGES = Path(__file__).parents[2] / "docs" / "format"

PACK_ID = "99e33e35b98134c7ebff9248b452ad06984c7a681ebf76a08de6b5492bdebba8"
SMALL_TREE_ID = "a6dba5e1649b4f1b885a5b923d02771ed7d41a889a1d343f9f52bd3a7cfca886"
CHANGED_TREE_ID = "7d46d0d26411de7ca27a77e18a06c9214fe663367b1f1649973752fc9201978f"
LAYOUT_ID = "c9b3285b304aeea14259bbec327df4f30a354080dffd994aaa90c680f647a734"


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def content(name: str) -> bytes:
    """What is compressed in a golden file."""
    data = golden(name)
    if name.endswith(".pack"):
        length = int.from_bytes(data[-24:-16], "little")
        return zstandard.ZstdDecompressor().decompress(data[-24 - length : -24])
    magic, head = (layout.MAGIC, 0) if name.endswith(".layout") else (tree.MAGIC, 32)
    return unpack_frame(data, magic, head, name)[1]


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("small.pack", PACK_ID),
        ("whole.tree", "7bac1e5f0d981880887194ef5d81cb9b56dac92b515f7099992e406f7a7dae6f"),
        ("against_base.tree", "7fcddf16fb8037d596d9c7f86a8c653077bdc41eb248834d65058736331d33a6"),
        ("small.layout", "3ec2a03a90416a98eb9c7d930e2029cf1b5033066c9a1455d95376edf86153c9"),
        ("small.index", "dd013e66ea16fe56f51e903285563ad4af7f388e969253b33777dfbf3b9886ec"),
    ],
)
def test_golden_files_are_those_that_were_made_once(name: str, digest: str) -> None:
    assert object_id(golden(name)).hex() == digest


def test_the_pack_is_read() -> None:
    scratch = memoryview(bytearray(BLOCK_BYTES))
    data = golden("small.pack")
    entries = read_footer(reading(data), len(data), "small.pack")
    found = {
        entry.form: bytes(read_payload(reading(data), entry, scratch, "small.pack"))
        for entry in entries
    }
    assert found == {each.form: each.payload for each in BLOCKS}


def test_packs_are_still_written_like_this(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path / "new.pack")
    for each in BLOCKS:
        writer.append(each)
    writer.finish()
    data, old = writer.path.read_bytes(), golden("small.pack")
    length = int.from_bytes(data[-24:-16], "little")
    assert data[:33] == old[:33]
    assert zstandard.ZstdDecompressor().decompress(data[33 : 33 + length]) == content("small.pack")
    assert data[-8:] == old[-8:]


def test_the_whole_tree_is_read_and_written() -> None:
    assert SMALL_TREE.id.hex() == SMALL_TREE_ID
    got = Tree.from_bytes(golden("whole.tree"), parse_id(SMALL_TREE_ID), no_file, "whole.tree")
    assert dict(got) == dict(SMALL_TREE)
    assert unpack_frame(got.to_bytes(), tree.MAGIC, 32, "new")[1] == content("whole.tree")


def test_the_tree_against_its_base_is_read_and_written() -> None:
    assert CHANGED_TREE.id.hex() == CHANGED_TREE_ID
    files = {parse_id(SMALL_TREE_ID): golden("whole.tree")}
    got = Tree.from_bytes(
        golden("against_base.tree"), parse_id(CHANGED_TREE_ID), files.__getitem__, "a tree"
    )
    assert dict(got) == dict(CHANGED_TREE)
    head, new = unpack_frame(got.to_bytes(SMALL_TREE), tree.MAGIC, 32, "new")
    assert (head.hex(), new) == (SMALL_TREE_ID, content("against_base.tree"))


def test_the_layout_is_read_and_written() -> None:
    assert SMALL_LAYOUT.id.hex() == LAYOUT_ID
    got = Layout.from_bytes(golden("small.layout"), parse_id(LAYOUT_ID), "small.layout")
    assert got.files == SMALL_LAYOUT.files
    assert unpack_frame(got.to_bytes(), layout.MAGIC, 0, "new")[1] == content("small.layout")


def test_the_index_is_read_and_written() -> None:
    index = BlockIndex.from_bytes(golden("small.index"))
    assert [(pack_id.hex(), entry.form) for pack_id, entry in index] == [
        (PACK_ID, each.form) for each in sorted(BLOCKS, key=lambda each: each.form.key)
    ]
    data = golden("small.pack")
    entries = read_footer(reading(data), len(data), "small.pack")
    assert BlockIndex.of([(parse_id(PACK_ID), entries)]).to_bytes() == golden("small.index")


# Pages


def dumps(page: Path) -> Iterator[tuple[str, list[tuple[int, bytes]]]]:
    """Name and lines (place, bytes) of each dump of a page."""
    for name, text in re.findall(
        r"^```hex ([^\n]+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
    ):
        lines = re.findall(r"^([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)", text, re.MULTILINE)
        assert len(lines) + text.count("...\n") == text.count("\n"), name
        yield name, [(int(place, 16), bytes.fromhex(data)) for place, data in lines]


@pytest.mark.parametrize("format_name", ["pack", "tree", "layout", "index"])
def test_the_dumps_of_a_page_are_those_of_the_golden_files(format_name: str) -> None:
    found = dict(dumps(PAGES / f"{format_name}.md"))
    assert any(name.endswith(f".{format_name}") for name in found)
    for name, lines in found.items():
        file, _, compressed = name.partition(" ")
        data = content(file) if compressed else golden(file)
        end = 0
        for place, part in lines:
            assert place >= end, name
            assert data[place : place + len(part)] == part, f"{name} at {place:04x}"
            end = place + len(part)
        assert end == len(data), name


def test_pages_name_every_limit_and_its_value() -> None:
    limits = {
        "pack": {"MAX_PACK_BYTES": pack.MAX_PACK_BYTES, "MAX_ENTRIES": pack.MAX_ENTRIES}
        | {"BLOCK_BYTES": block.BLOCK_BYTES},
        "tree": {"MAX_NAME_BYTES": tree.MAX_NAME_BYTES, "MAX_DIMENSIONS": tree.MAX_DIMENSIONS}
        | {"MAX_TENSOR_BYTES": tree.MAX_TENSOR_BYTES}
        | {"MAX_CONTENT_BYTES": frame.MAX_CONTENT_BYTES},
        "layout": {"MAX_PATH_BYTES": layout.MAX_PATH_BYTES, "MAX_PART_BYTES": layout.MAX_PART_BYTES}
        | {"MAX_HEADER_BYTES": layout.MAX_HEADER_BYTES}
        | {"MAX_CONTENT_BYTES": frame.MAX_CONTENT_BYTES},
    }
    for name, expected in limits.items():
        text = (PAGES / f"{name}.md").read_text()
        for limit, value in expected.items():
            assert f"| `{limit}` | {value:,} |".replace(",", " ") in text, limit


def test_pages_name_every_error_of_their_format() -> None:
    shared = {
        "MagicError",
        "NewerVersionError",
        "TruncatedFrameError",
        "CheckError",
        "OversizeError",
    }
    shared.add("CompressionError")
    errors = {
        "pack": shared | {"FooterError", "EntryError", "PackNameError", "PackPayloadError"},
        "tree": shared | {"TreeError", "TreeIdError", "DepthError", "MissingError"},
        "layout": shared | {"LayoutError", "LayoutIdError", "PathError"},
        "index": {"IndexFormatError"},
    }
    for name, expected in errors.items():
        text = (PAGES / f"{name}.md").read_text()
        assert set(re.findall(r"^\| `(\w+Error)` \|", text, re.MULTILINE)) == expected
