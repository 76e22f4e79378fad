from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pvc.weights.checkpoint import Checkpoint, DuplicateTensorError
from pvc.weights.errors import ChangedError
from pvc.weights.header import shard_prefix
from pvc.weights.index import (
    IndexFormError,
    MissingShardError,
    MissingTensorError,
    ShardNameError,
    UnindexedTensorError,
)
from pvc.weights.reader import CheckpointReader
from pvc.weights.shard import (
    HEADER_LIMIT,
    HeaderLengthError,
    TrailingBytesError,
    TruncatedShardError,
)
from pvc_store.kinds import KIND_BY_NAME
from tests.support.shards import age, bytes_shard, entry, shard, write_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.weights.errors import CheckpointError

INDEX = "model.safetensors.index.json"
NAMES = st.text("abc.0_éß✓ ", min_size=1, max_size=8).filter(str.strip)


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, tuple[str, list[int], bytes]]:
    made = {}
    for name in draw(st.lists(NAMES, unique=True, max_size=6)):
        dtype = draw(st.sampled_from(sorted(KIND_BY_NAME)))
        shape = draw(st.lists(st.integers(0, 3), max_size=5))
        if KIND_BY_NAME[dtype].bits < 8:
            shape.append(4)
        nbytes = KIND_BY_NAME[dtype].bytes_of(tuple(shape))
        made[name] = (dtype, shape, draw(st.binary(min_size=nbytes, max_size=nbytes)))
    return made


@st.composite
def shard_files(draw: st.DrawFn) -> dict[str, bytes]:
    """File name -> a safetensors file, with the data and the header in orders of their own."""
    made = draw(tensors())
    files = {}
    count = draw(st.integers(1, 3))
    for number in range(count):
        mine = [name for at, name in enumerate(made) if at % count == number]
        header: dict[str, object] = {}
        data = b""
        for name in draw(st.permutations(mine)):
            dtype, shape, raw = made[name]
            header[name] = entry(dtype, shape, len(data), len(data) + len(raw))
            data += raw
        if draw(st.booleans()):
            header["__metadata__"] = {"format": "pt"}
        order = draw(st.permutations(list(header)))
        text = json.dumps({name: header[name] for name in order}, ensure_ascii=draw(st.booleans()))
        padded = text.encode() + b" " * draw(st.integers(0, 9))
        files[f"part-{number}.safetensors"] = shard(padded, data)
    return files


def told_by_library(raw: bytes) -> dict[str, tuple[str, list[int], bytes]]:
    parts: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(raw)  # type: ignore[no-untyped-call]
    return {name: (told["dtype"], told["shape"], bytes(told["data"])) for name, told in parts}


@settings(max_examples=60, deadline=None)
@given(shard_files(), st.booleans())
def test_a_checkpoint_is_read_exactly(files: dict[str, bytes], indexed: bool) -> None:
    expected = {name: told for raw in files.values() for name, told in told_by_library(raw).items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, raw in files.items():
            (folder / path).write_bytes(raw)
        owners = {name: path for path in files for name in told_by_library(files[path])}
        indexed = indexed and set(owners.values()) == set(files)
        if indexed:
            write_index(folder / INDEX, owners)
        checkpoint = Checkpoint.open(folder)
        found = {}
        with CheckpointReader(checkpoint) as reader:
            for place in checkpoint.tensors.values():
                out = bytearray(place.nbytes)
                reader.read_into(place, 0, out)
                found[place.name] = (place.kind.name, list(place.shape), bytes(out))
        checkpoint.check_unchanged()
    assert found == expected
    assert list(checkpoint.tensors) == sorted(expected)
    assert checkpoint.files == ((INDEX,) if indexed else ())
    for part in checkpoint.shards:
        data = b"".join(expected[tensor][2] for tensor in part.names)
        assert shard_prefix(part.header) + data == files[part.path]
        assert part.size == len(files[part.path])


def test_what_torch_writes_is_read(tmp_path: Path) -> None:
    weights = {
        "model.a": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
        "model.scale": torch.tensor(1.5, dtype=torch.float64),
        "model.empty": torch.zeros(0, 4),
    }
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    checkpoint = Checkpoint.open(tmp_path)
    forms = {name: (p.kind.name, p.shape) for name, p in checkpoint.tensors.items()}
    assert forms == {
        "model.a": ("BF16", (2, 3)),
        "model.empty": ("F32", (0, 4)),
        "model.scale": ("F64", ()),
    }
    out = bytearray(12)
    with CheckpointReader(checkpoint) as reader:
        reader.read_into(checkpoint.tensors["model.a"], 0, out)
    assert out == weights["model.a"].view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        pytest.param(b"", HeaderLengthError, id="empty file"),
        pytest.param(b"\0" * 7, HeaderLengthError, id="no length"),
        pytest.param(b"\3" + b"\0" * 7 + b"{}", HeaderLengthError, id="header beyond the file"),
        pytest.param(b"\xff" * 8 + b"{}", HeaderLengthError, id="endless header"),
        pytest.param(bytes_shard(a=b"xyz")[:-1], TruncatedShardError, id="truncated"),
        pytest.param(bytes_shard(a=b"xyz") + b"!", TrailingBytesError, id="trailing byte"),
        pytest.param(bytes_shard() + b"!", TrailingBytesError, id="trailing byte without tensors"),
    ],
)
def test_a_file_of_the_wrong_size_is_refused(
    tmp_path: Path, raw: bytes, error: type[CheckpointError]
) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw)
    with pytest.raises(error) as caught:
        Checkpoint.open(tmp_path)
    assert type(caught.value) is error


def test_a_header_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((HEADER_LIMIT + 1).to_bytes(8, "little"))
    os.truncate(path, HEADER_LIMIT + 100)
    with pytest.raises(HeaderLengthError, match="exceeds 100000000"):
        Checkpoint.open(tmp_path)


def test_truncation_says_how_much_is_missing(tmp_path: Path) -> None:
    raw = bytes_shard(a=b"xyz")
    (tmp_path / "model.safetensors").write_bytes(raw[:-2])
    with pytest.raises(TruncatedShardError) as caught:
        Checkpoint.open(tmp_path)
    assert (caught.value.found, caught.value.expected) == (len(raw) - 2, len(raw))


def test_one_name_in_two_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(bytes_shard(w=b"1", x=b"2"))
    (tmp_path / "b.safetensors").write_bytes(bytes_shard(w=b"1"))
    with pytest.raises(DuplicateTensorError) as caught:
        Checkpoint.open(tmp_path)
    assert caught.value.name == "w"
    assert caught.value.files == ("a.safetensors", "b.safetensors")


@pytest.mark.parametrize(
    ("index", "error", "facts"),
    [
        pytest.param(b"{", IndexFormError, {}, id="not JSON"),
        pytest.param(b"[]", IndexFormError, {}, id="array"),
        pytest.param(b'{"weight_map": []}', IndexFormError, {}, id="weight_map array"),
        pytest.param(b'{"weight_map": {}}', IndexFormError, {}, id="no tensors"),
        pytest.param(b'{"weight_map": {"a": 1}}', IndexFormError, {}, id="shard number"),
        pytest.param(
            b'{"weight_map": {"a": "s.safetensors", "a": "s.safetensors"}}',
            IndexFormError, {}, id="tensor twice",
        ),
        pytest.param(
            b'{"weight_map": {"a": "../s.safetensors"}}',
            ShardNameError, {"shard": "../s.safetensors"}, id="outside",
        ),
        pytest.param(
            b'{"weight_map": {"a": "s.bin"}}', ShardNameError, {"shard": "s.bin"}, id="pickle"
        ),
        pytest.param(
            b'{"weight_map": {"a": "s.safetensors", "b": "t.safetensors"}}',
            MissingShardError, {"shard": "t.safetensors"}, id="shard missing",
        ),
        pytest.param(
            b'{"weight_map": {"a": "s.safetensors", "b": "s.safetensors", "c": "s.safetensors"}}',
            MissingTensorError, {"name": "c", "shard": "s.safetensors"}, id="tensor missing",
        ),
        pytest.param(
            b'{"weight_map": {"a": "s.safetensors"}}',
            UnindexedTensorError, {"name": "b", "shard": "s.safetensors"}, id="tensor not named",
        ),
    ],
)  # fmt: skip
def test_each_mistake_of_an_index_has_its_own_error(
    tmp_path: Path, index: bytes, error: type[CheckpointError], facts: dict[str, str]
) -> None:
    (tmp_path / INDEX).write_bytes(index)
    (tmp_path / "s.safetensors").write_bytes(bytes_shard(a=b"1", b=b"2"))
    with pytest.raises(error) as caught:
        Checkpoint.open(tmp_path)
    assert type(caught.value) is error
    assert {name: getattr(caught.value, name) for name in facts} == facts
    assert vars(caught.value)["path"] == tmp_path / INDEX


def test_a_tensor_in_another_shard_than_the_index_says_is_refused(tmp_path: Path) -> None:
    write_index(
        tmp_path / INDEX, {"a": "s.safetensors", "b": "s.safetensors", "c": "t.safetensors"}
    )
    (tmp_path / "s.safetensors").write_bytes(bytes_shard(a=b"1"))
    (tmp_path / "t.safetensors").write_bytes(bytes_shard(b=b"1", c=b"2"))
    with pytest.raises(MissingTensorError, match=r"'b' is not in the shard 's\.safetensors'"):
        Checkpoint.open(tmp_path)


def test_fingerprint_covers_what_belongs_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes_shard(a=b"1"))
    (tmp_path / "extra.safetensors").write_bytes(bytes_shard(a=b"1"))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "optimizer.pt").write_bytes(b"")
    checkpoint = Checkpoint.open(tmp_path)
    assert list(checkpoint.fingerprint) == ["config.json", "model.safetensors"]
    status = (tmp_path / "config.json").stat()
    assert checkpoint.fingerprint["config.json"] == (
        2, status.st_mtime_ns, status.st_ino, status.st_ctime_ns,
    )  # fmt: skip
    assert Checkpoint.open(tmp_path) == checkpoint


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def replace(path: Path) -> None:
    twin = path.with_name("twin")
    twin.write_bytes(path.read_bytes())
    os.utime(twin, ns=(1, 1))
    twin.replace(path)


@pytest.mark.parametrize("change", [grow, replace, Path.touch, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_change_after_opening_is_noticed(
    tmp_path: Path, change: Callable[[Path], None], name: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes_shard(a=b"1"))
    (tmp_path / "config.json").write_text("{}")
    age(tmp_path)
    checkpoint = Checkpoint.open(tmp_path)
    checkpoint.check_unchanged()
    change(tmp_path / name)
    assert checkpoint.changed_since(checkpoint.fingerprint) == (name,)
    with pytest.raises(ChangedError) as caught:
        checkpoint.check_unchanged()
    assert caught.value.path == tmp_path / name


def test_files_that_came_or_went_since_a_fingerprint_are_changes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes_shard(a=b"1"))
    (tmp_path / "old.json").write_text("{}")
    before = Checkpoint.open(tmp_path).fingerprint
    (tmp_path / "old.json").unlink()
    (tmp_path / "new.json").write_text("{}")
    assert Checkpoint.open(tmp_path).changed_since(before) == ("new.json", "old.json")
