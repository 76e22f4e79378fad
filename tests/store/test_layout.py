from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc_store.errors import FormatError
from pvc_store.frame import MagicError, NewerVersionError, unpack_frame
from pvc_store.ids import NO_ID, object_id
from pvc_store.layout import (
    MAGIC,
    MAX_HEADER_BYTES,
    Layout,
    LayoutError,
    LayoutIdError,
    OtherFile,
    PathError,
    WeightsFile,
    check_path,
)
from pvc_store.tree import MAX_TENSOR_BYTES
from tests.store.samples import layout, layout_file, other_file
from tests.store.strategies import damaged

if TYPE_CHECKING:
    import random

PARTS = st.text("abcAB.-_ é", min_size=1, max_size=6).filter(
    lambda part: part.lower() not in {".", "..", ".git"}
)
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    chosen: list[str] = []
    for path in draw(st.lists(PATHS, max_size=5)):
        if not any(
            path == each or path.startswith(f"{each}/") or each.startswith(f"{path}/")
            for each in chosen
        ):
            chosen.append(path)
    files: list[WeightsFile | OtherFile] = [
        WeightsFile(path, draw(st.binary(max_size=40)), draw(st.booleans()))
        if draw(st.booleans())
        else other_file(path, draw(st.binary(max_size=40)))
        for path in chosen
    ]
    return Layout(files)


def content_of(one: Layout) -> bytes:
    return unpack_frame(one.to_bytes(), MAGIC, 0, "A layout")[1]


def count(number: int) -> bytes:
    return number.to_bytes(4, "little")


def coded(path: bytes, sort: int = 1, body: bytes = bytes(4)) -> bytes:
    return len(path).to_bytes(2, "little") + path + bytes([sort]) + body


def read(content: bytes, expected: bytes = NO_ID) -> Layout:
    return Layout.from_bytes(layout_file(content), expected, "Layout 12")


def test_the_id_is_the_hash_of_the_bytes_that_the_format_names() -> None:
    files: list[WeightsFile | OtherFile]
    files = [OtherFile("b", 1, bytes(range(32)), b"k" * 16), WeightsFile("a", b"{}")]
    content = b"\2\0\0\0\1\0a\1\2\0\0\0{}\1\0b\0\1" + bytes(7)
    assert Layout(files).id == object_id(b"PVCLAYT1" + content + bytes(range(32)) + b"k" * 16)


@given(layouts(), st.randoms(use_true_random=False))
def test_a_layout_comes_back_whatever_the_order(one: Layout, order: random.Random) -> None:
    shuffled = list(one.files)
    order.shuffle(shuffled)
    got = Layout.from_bytes(Layout(shuffled).to_bytes(), one.id, "here")
    assert got == one
    assert hash(got) == hash(one)
    assert got.files == one.files
    assert {*got.weights, *got.others} == {*one.files}
    assert len(got.weights) + len(got.others) == len(one.files)


@given(layouts(), layouts())
def test_different_layouts_have_different_ids(one: Layout, other: Layout) -> None:
    assert (one.id == other.id) == (one.files == other.files)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a b",
        "model-00001-of-00002.safetensors",
        "é/ü",
        "...",
        ".gitattributes",
        "a/.b",
        "a" * 255,
    ],
)
def test_a_plain_path_is_taken(path: str) -> None:
    check_path(path, "here")


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/etc/passwd", "a//b", "a/", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "..\\a",
        "a\0b", "a\nb", "\x7f", "\u202egpj", "\ud800", ".git", "a/.git/hooks", ".GIT/config",
        "a" * 256, "é" * 128, "a/" * 2048 + "aa",
    ],
)  # fmt: skip
def test_a_path_that_could_do_harm_is_refused(path: str) -> None:
    with pytest.raises(PathError) as caught:
        Layout([WeightsFile(path, b"")])
    assert caught.value.path == path
    coded_path = path.encode(errors="surrogatepass")
    with pytest.raises(FormatError):
        read(count(1) + coded(coded_path))


@pytest.mark.parametrize(
    "paths", [["a", "a"], ["a", "a/b"], ["x/y", "x/y/z/w"], ["a-b", "a/b", "a"]]
)
def test_paths_that_contradict_each_other_are_refused(paths: list[str]) -> None:
    with pytest.raises(LayoutError):
        Layout(WeightsFile(path, b"") for path in paths)
    ordered = sorted(path.encode() for path in paths)
    with pytest.raises(LayoutError, match="Layout 12"):
        read(count(len(paths)) + b"".join(map(coded, ordered)))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(other_file("a", b"text"), keys=b""),
        replace(other_file("a", b"text"), size=0),
        replace(other_file("a", b"text"), size=-1),
        replace(other_file("a", b"text"), size=MAX_TENSOR_BYTES + 1),
        replace(other_file("a", b"text"), digest=b""),
        WeightsFile("a", bytes(MAX_HEADER_BYTES + 1)),
    ],
    ids=["keys", "size", "negative", "huge", "digest", "header"],
)
def test_a_file_that_could_not_be_stored_makes_no_layout(wrong: WeightsFile | OtherFile) -> None:
    with pytest.raises(LayoutError):
        Layout([wrong])


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "ends at byte 0"),
        (count(0) + b"\0", "1 bytes follow"),
        (count((1 << 32) - 1) + coded(b"a"), "4294967295 items"),
        (count(2) + coded(b"a"), "within a field"),
        (count(1) + coded(b"\xff"), "not UTF-8"),
        (count(1) + coded(b"a", sort=3), "unknown sort 3"),
        (count(1) + coded(b"a", body=b"\xff\xff\xff\xff"), "within a field"),
        (count(1) + coded(b"a", sort=0, body=b"\xff" * 8), "within a field"),
        (count(1) + coded(b"a", sort=0, body=b"\1" + bytes(39)), "within a field"),
        (count(1) + coded(b"a", sort=0, body=bytes(56)), "16 bytes follow"),
        (count(2) + coded(b"b") + coded(b"a"), "out of order"),
    ],
)
def test_a_malformed_layout_is_refused(content: bytes, detail: str) -> None:
    with pytest.raises(LayoutError, match=detail) as caught:
        read(content)
    assert caught.value.what == "Layout 12"


def test_what_is_no_layout_is_refused() -> None:
    data = layout().to_bytes()
    with pytest.raises(MagicError):
        Layout.from_bytes(b"PVCTREE1" + data[8:], layout().id, "here")
    with pytest.raises(NewerVersionError):
        Layout.from_bytes(b"PVCLAYT2" + data[8:], layout().id, "here")
    with pytest.raises(LayoutIdError, match=layout().id.hex()):
        Layout.from_bytes(data, NO_ID, "here")


@given(damaged(content_of(layout())))
def test_damaged_content_raises_format_errors_only(content: bytes) -> None:
    if content != content_of(layout()):
        with pytest.raises(FormatError):
            read(content, layout().id)
