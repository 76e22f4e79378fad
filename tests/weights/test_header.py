from __future__ import annotations

import re
from pathlib import Path

import pytest

from pvc.weights.header import (
    DIMENSION_LIMIT,
    FILE_LIMIT,
    NAME_LIMIT,
    HeaderError,
    placements,
    shard_prefix,
)
from pvc_store.kinds import KIND_BY_NAME
from tests.support.shards import entry, shard


def header(**tensors: object) -> bytes:
    return shard(tensors)[8:]


A = entry("U8", [2], 0, 2)
A_TEXT = b'{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b"", "its header is not JSON: ", id="empty"),
        pytest.param(b"{", "its header is not JSON: ", id="cut off"),
        pytest.param(b'{"a\xff":1}', "its header is not JSON: ", id="not UTF-8"),
        pytest.param("{}".encode("utf-16"), "its header is not JSON: ", id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf{}", "its header is not JSON: ", id="byte order mark"),
        pytest.param(b"{}\0", "its header is not JSON: ", id="padded with NUL"),
        pytest.param(b'{"a":NaN}', "its header is not JSON: ", id="NaN"),
        pytest.param(b"[" * 100_000, "its header is not JSON: ", id="deeply nested"),
        pytest.param(
            b'{"a":' + b"9" * 5000 + b"}", "its header is not JSON: ", id="endless number"
        ),
        pytest.param(b"[]", "its header is not a JSON object", id="array"),
        pytest.param(
            b'{"__metadata__":{"a":1}}',
            "its __metadata__ does not map texts to texts",
            id="metadata of numbers",
        ),
        pytest.param(
            b'{"__metadata__":[]}',
            "its __metadata__ does not map texts to texts",
            id="metadata array",
        ),
        pytest.param(b'{"a":null}', "tensor 'a' has not exactly the fields", id="no entry"),
        pytest.param(
            b'{"a":["U8",[2],[0,2]]}', "tensor 'a' has not exactly the fields", id="entry as array"
        ),
        pytest.param(
            header(a=A | {"x": 1}), "tensor 'a' has not exactly the fields", id="unknown field"
        ),
        pytest.param(
            header(a={"dtype": "U8", "shape": [2]}),
            "tensor 'a' has not exactly the fields",
            id="lacks a field",
        ),
        pytest.param(
            header(a=A | {"dtype": 1}),
            "tensor 'a' has a field of the wrong type",
            id="dtype number",
        ),
        pytest.param(
            header(a=A | {"shape": [-2]}),
            "tensor 'a' has a field of the wrong type",
            id="negative dimension",
        ),
        pytest.param(
            header(a=A | {"shape": [2.0]}),
            "tensor 'a' has a field of the wrong type",
            id="broken dimension",
        ),
        pytest.param(
            header(a=A | {"shape": [True, 2]}),
            "tensor 'a' has a field of the wrong type",
            id="true dimension",
        ),
        pytest.param(
            header(a=A | {"shape": 2}),
            "tensor 'a' has a field of the wrong type",
            id="shape number",
        ),
        pytest.param(
            header(a=A | {"data_offsets": [0]}),
            "tensor 'a' has the impossible data_offsets [0]",
            id="one offset",
        ),
        pytest.param(
            header(a=A | {"data_offsets": [0, 2, 2]}),
            "tensor 'a' has the impossible data_offsets [0, 2, 2]",
            id="three offsets",
        ),
        pytest.param(
            header(a=A | {"data_offsets": [2, 0]}),
            "tensor 'a' has the impossible data_offsets [2, 0]",
            id="backwards",
        ),
        pytest.param(
            b'{"a":%s,"a":%s}' % (A_TEXT, A_TEXT),
            "its header holds the name 'a' more than once",
            id="same twice",
        ),
        pytest.param(
            b'{"__metadata__":{"a":"","a":""}}',
            "its header holds the name 'a' more than once",
            id="metadata twice",
        ),
        pytest.param(
            b'{"a":{"dtype":"U8","dtype":"U8"}}',
            "its header holds the name 'dtype' more than once",
            id="field twice",
        ),
        pytest.param(header(**{"": A}), "cannot be a tensor name: 1 to 1024 bytes", id="no name"),
        pytest.param(
            header(**{"a\0": A}), "cannot be a tensor name: 1 to 1024 bytes", id="NUL in name"
        ),
        pytest.param(
            header(**{"a\n": A}), "cannot be a tensor name: 1 to 1024 bytes", id="newline in name"
        ),
        pytest.param(
            header(**{"a\x85": A}),
            "cannot be a tensor name: 1 to 1024 bytes",
            id="C1 control in name",
        ),
        pytest.param(
            header(**{"a\ud800": A}),
            "cannot be a tensor name: 1 to 1024 bytes",
            id="half a surrogate pair",
        ),
        pytest.param(
            header(**{"ä" * (NAME_LIMIT // 2 + 1): A}),
            "cannot be a tensor name: 1 to 1024 bytes",
            id="long name",
        ),
        pytest.param(
            header(a=A | {"dtype": "U128"}),
            "tensor 'a' has the unknown dtype 'U128'",
            id="unknown dtype",
        ),
        pytest.param(
            header(a=A | {"dtype": "BYTES"}),
            "tensor 'a' has the unknown dtype 'BYTES'",
            id="dtype of the store",
        ),
        pytest.param(
            header(a=entry("U8", [1] * (DIMENSION_LIMIT + 1), 0, 1)),
            "tensor 'a' has 256 dimensions, more than 255",
            id="dimensions",
        ),
        pytest.param(
            header(a=entry("F16", [2], 0, 2)), "has 2 bytes, but 4 are expected", id="too few bytes"
        ),
        pytest.param(
            header(a=entry("F32", [], 0, 8)), "has 8 bytes, but 4 are expected", id="too many bytes"
        ),
        pytest.param(
            header(a=entry("F4", [3], 0, 2)),
            "has 2 bytes, but its elements fill no whole bytes",
            id="half a byte",
        ),
        pytest.param(
            header(a=entry("U8", [1], 1, 2)),
            "but the data before it ends at",
            id="hole at the start",
        ),
        pytest.param(
            header(a=A, b=entry("U8", [1], 3, 4)), "but the data before it ends at", id="hole"
        ),
        pytest.param(
            header(a=A, b=entry("U8", [2], 1, 3)), "but the data before it ends at", id="overlap"
        ),
        pytest.param(
            header(a=A, b=entry("U8", [2], 0, 2)), "but the data before it ends at", id="same bytes"
        ),
        pytest.param(
            header(a=A, b=entry("U8", [0], 1, 1)),
            "but the data before it ends at",
            id="empty inside",
        ),
        pytest.param(
            header(a=entry("U8", [1 << 45], 0, 1 << 45)), "its header asks for", id="huge tensor"
        ),
        pytest.param(
            header(a=entry("U8", [1 << 64, 0], 0, 0)),
            "the safetensors library says: ",
            id="overflow",
        ),
    ],
)
def test_each_malformation_is_named(raw: bytes, reason: str) -> None:
    with pytest.raises(HeaderError, match=re.escape(reason)) as caught:
        placements(raw, "x", Path("/models/x"))
    assert caught.value.path == Path("/models/x")
    assert str(caught.value).startswith("/models/x is not a valid safetensors file: ")
    assert str(caught.value).isprintable()


def test_errors_say_what_was_found() -> None:
    raw = header(a=A, b=entry("U8", [1], 4, 5))
    found, expected = 8 + len(raw) + 4, 8 + len(raw) + 2
    said = f"tensor 'b' starts at byte {found}, but the data before it ends at {expected}"
    with pytest.raises(HeaderError, match=said):
        placements(raw, "x")
    raw = header(w=entry("F32", [3], 0, 2))
    said = r"tensor 'w' of dtype F32 and shape \[3\] has 2 bytes, but 12 are expected"
    with pytest.raises(HeaderError, match=said):
        placements(raw, "x")
    raw = header(a=entry("U8", [FILE_LIMIT], 0, FILE_LIMIT))
    said = f"its header asks for {8 + len(raw) + FILE_LIMIT} bytes, more than {FILE_LIMIT}"
    with pytest.raises(HeaderError, match=said):
        placements(raw, "x")


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
        with pytest.raises(HeaderError, match="unknown dtype 'F3'") as caught:
            placements(bad, "x", path)
        assert caught.value.path == path
