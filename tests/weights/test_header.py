from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pvc.weights.header import (
    DIMENSION_LIMIT,
    FILE_LIMIT,
    NAME_LIMIT,
    DimensionsError,
    FileLimitError,
    HeaderFormError,
    HeaderJsonError,
    HeaderRejectedError,
    RepeatedTensorError,
    TensorNameError,
    TensorOffsetError,
    TensorSizeError,
    UnknownDtypeError,
    placements,
    shard_prefix,
)
from pvc_store.kinds import KIND_BY_NAME
from tests.support.shards import entry, shard

if TYPE_CHECKING:
    from pvc.weights.header import HeaderError


def header(**tensors: object) -> bytes:
    return shard(tensors)[8:]


A = entry("U8", [2], 0, 2)
A_TEXT = b'{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        pytest.param(b"", HeaderJsonError, id="empty"),
        pytest.param(b"{", HeaderJsonError, id="cut off"),
        pytest.param(b'{"a\xff":1}', HeaderJsonError, id="not UTF-8"),
        pytest.param("{}".encode("utf-16"), HeaderJsonError, id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf{}", HeaderJsonError, id="byte order mark"),
        pytest.param(b"{}\0", HeaderJsonError, id="padded with NUL"),
        pytest.param(b'{"a":NaN}', HeaderJsonError, id="NaN"),
        pytest.param(b"[" * 100_000, HeaderJsonError, id="deeply nested"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", HeaderJsonError, id="endless number"),
        pytest.param(b"[]", HeaderFormError, id="array"),
        pytest.param(b'{"__metadata__":{"a":1}}', HeaderFormError, id="metadata of numbers"),
        pytest.param(b'{"__metadata__":[]}', HeaderFormError, id="metadata array"),
        pytest.param(b'{"a":null}', HeaderFormError, id="no entry"),
        pytest.param(b'{"a":["U8",[2],[0,2]]}', HeaderFormError, id="entry as array"),
        pytest.param(header(a=A | {"x": 1}), HeaderFormError, id="unknown field"),
        pytest.param(header(a={"dtype": "U8", "shape": [2]}), HeaderFormError, id="lacks a field"),
        pytest.param(header(a=A | {"dtype": 1}), HeaderFormError, id="dtype number"),
        pytest.param(header(a=A | {"shape": [-2]}), HeaderFormError, id="negative dimension"),
        pytest.param(header(a=A | {"shape": [2.0]}), HeaderFormError, id="broken dimension"),
        pytest.param(header(a=A | {"shape": [True, 2]}), HeaderFormError, id="true dimension"),
        pytest.param(header(a=A | {"shape": 2}), HeaderFormError, id="shape number"),
        pytest.param(header(a=A | {"data_offsets": [0]}), HeaderFormError, id="one offset"),
        pytest.param(
            header(a=A | {"data_offsets": [0, 2, 2]}), HeaderFormError, id="three offsets"
        ),
        pytest.param(header(a=A | {"data_offsets": [2, 0]}), HeaderFormError, id="backwards"),
        pytest.param(b'{"a":%s,"a":%s}' % (A_TEXT, A_TEXT), RepeatedTensorError, id="same twice"),
        pytest.param(b'{"__metadata__":{"a":"","a":""}}', RepeatedTensorError, id="metadata twice"),
        pytest.param(b'{"a":{"dtype":"U8","dtype":"U8"}}', RepeatedTensorError, id="field twice"),
        pytest.param(header(**{"": A}), TensorNameError, id="no name"),
        pytest.param(header(**{"a\0": A}), TensorNameError, id="NUL in name"),
        pytest.param(header(**{"a\n": A}), TensorNameError, id="newline in name"),
        pytest.param(header(**{"a\x85": A}), TensorNameError, id="C1 control in name"),
        pytest.param(header(**{"a\ud800": A}), TensorNameError, id="half a surrogate pair"),
        pytest.param(header(**{"ä" * (NAME_LIMIT // 2 + 1): A}), TensorNameError, id="long name"),
        pytest.param(header(a=A | {"dtype": "U128"}), UnknownDtypeError, id="unknown dtype"),
        pytest.param(header(a=A | {"dtype": "BYTES"}), UnknownDtypeError, id="dtype of the store"),
        pytest.param(
            header(a=entry("U8", [1] * (DIMENSION_LIMIT + 1), 0, 1)),
            DimensionsError,
            id="dimensions",
        ),
        pytest.param(header(a=entry("F16", [2], 0, 2)), TensorSizeError, id="too few bytes"),
        pytest.param(header(a=entry("F32", [], 0, 8)), TensorSizeError, id="too many bytes"),
        pytest.param(header(a=entry("F4", [3], 0, 2)), TensorSizeError, id="half a byte"),
        pytest.param(header(a=entry("U8", [1], 1, 2)), TensorOffsetError, id="hole at the start"),
        pytest.param(header(a=A, b=entry("U8", [1], 3, 4)), TensorOffsetError, id="hole"),
        pytest.param(header(a=A, b=entry("U8", [2], 1, 3)), TensorOffsetError, id="overlap"),
        pytest.param(header(a=A, b=entry("U8", [2], 0, 2)), TensorOffsetError, id="same bytes"),
        pytest.param(header(a=A, b=entry("U8", [0], 1, 1)), TensorOffsetError, id="empty inside"),
        pytest.param(
            header(a=entry("U8", [1 << 45], 0, 1 << 45)), FileLimitError, id="huge tensor"
        ),
        pytest.param(header(a=entry("U8", [1 << 64, 0], 0, 0)), HeaderRejectedError, id="overflow"),
    ],
)
def test_each_malformation_has_its_own_error(raw: bytes, error: type[HeaderError]) -> None:
    with pytest.raises(error) as caught:
        placements(raw, "x", Path("/models/x"))
    assert type(caught.value) is error
    assert caught.value.path == Path("/models/x")
    assert str(caught.value).startswith("/models/x is not a valid safetensors file: ")
    assert str(caught.value).isprintable()


def test_errors_carry_what_was_found() -> None:
    with pytest.raises(UnknownDtypeError) as dtype:
        placements(header(w=A | {"dtype": "F3"}), "x")
    assert (dtype.value.name, dtype.value.dtype) == ("w", "F3")
    with pytest.raises(TensorSizeError) as size:
        placements(header(w=entry("F32", [3], 0, 2)), "x")
    assert (size.value.name, size.value.found, size.value.expected) == ("w", 2, 12)
    raw = header(a=A, b=entry("U8", [1], 4, 5))
    with pytest.raises(TensorOffsetError) as offset:
        placements(raw, "x")
    start = 8 + len(raw)
    assert (offset.value.name, offset.value.found, offset.value.expected) == (
        "b", start + 4, start + 2,
    )  # fmt: skip
    with pytest.raises(FileLimitError) as limit:
        placements(header(a=entry("U8", [FILE_LIMIT], 0, FILE_LIMIT)), "x")
    assert limit.value.found > FILE_LIMIT


def test_places_come_in_file_order_with_offsets_of_the_file() -> None:
    raw = header(
        late=entry("BF16", [2, 1], 1, 5),
        none=entry("F32", [0, 7], 1, 1),
        early=entry("BOOL", [], 0, 1),
    )
    start = 8 + len(raw)
    places = placements(raw, "a/b.safetensors")
    assert [(p.name, p.offset, p.nbytes) for p in places] == [
        ("early", start, 1),
        ("none", start + 1, 0),
        ("late", start + 1, 4),
    ]
    assert places[2].kind is KIND_BY_NAME["BF16"]
    assert places[2].shape == (2, 1)
    assert {p.file for p in places} == {"a/b.safetensors"}


@pytest.mark.parametrize("name", sorted(KIND_BY_NAME))
def test_every_dtype_of_the_library_is_known(name: str) -> None:
    (place,) = placements(header(a=entry(name, [4], 0, KIND_BY_NAME[name].bits // 2)), "x")
    assert place.kind.name == name


def test_what_the_format_allows_is_read() -> None:
    assert placements(b"{}", "x") == ()
    assert placements(b' {"__metadata__": {"format": "pt"}}   ', "x") == ()
    wide = header(**{"ä" * (NAME_LIMIT // 2): entry("U8", [1] * DIMENSION_LIMIT, 0, 1)})
    assert placements(wide, "x")[0].shape == (1,) * DIMENSION_LIMIT


def test_prefix_is_length_and_header() -> None:
    assert shard_prefix(b'{"a": 1}  ') == b'\x0a\0\0\0\0\0\0\0{"a": 1}  '


def test_headers_that_are_known_are_told_by_the_names_of_their_files() -> None:
    good, bad = header(a=A), header(a=A | {"dtype": "F3"})
    assert placements(good, "x", Path("/one/x")) is placements(good, "x", Path("/two/x"))
    assert [place.file for place in placements(good, "y")] == ["y"]
    for path in (Path("/one/x"), Path("/two/x")):
        with pytest.raises(UnknownDtypeError) as caught:
            placements(bad, "x", path)
        assert caught.value.path == path
