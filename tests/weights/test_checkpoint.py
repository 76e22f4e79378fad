from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pvc.weights.checkpoint import Checkpoint
from pvc.weights.errors import ChangedError, CheckpointError
from pvc.weights.header import HeaderError, shard_prefix
from pvc.weights.index import WeightIndexError
from pvc.weights.reader import CheckpointReader
from pvc.weights.shard import HEADER_LIMIT
from pvc_store.kinds import KIND_BY_NAME
from tests.support.shards import age, bytes_shard, entry, shard, write_index

if TYPE_CHECKING:
    from collections.abc import Callable

INDEX = "model.safetensors.index.json"
SHARD = bytes_shard(a=b"xyz")
END = len(SHARD)
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
    ("raw", "reason"),
    [
        pytest.param(b"", "it has 0 bytes, too few to state", id="empty file"),
        pytest.param(b"\0" * 7, "it has 7 bytes, too few to state", id="no length"),
        pytest.param(
            b"\3" + b"\0" * 7 + b"{}",
            "a header of 3 bytes exceeds its 10 bytes",
            id="header beyond the file",
        ),
        pytest.param(b"\xff" * 8 + b"{}", "bytes exceeds 100000000", id="endless header"),
        pytest.param(SHARD[:-2], f"has {END - 2} bytes, but {END} are expected", id="truncated"),
        pytest.param(
            SHARD + b"!", f"has {END + 1} bytes, but {END} are expected", id="trailing byte"
        ),
        pytest.param(
            bytes_shard() + b"!",
            "has 11 bytes, but 10 are expected",
            id="trailing byte without tensors",
        ),
    ],
)
def test_a_file_of_the_wrong_size_is_refused(tmp_path: Path, raw: bytes, reason: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw)
    with pytest.raises(HeaderError, match=reason):
        Checkpoint.open(tmp_path)


def test_a_header_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((HEADER_LIMIT + 1).to_bytes(8, "little"))
    os.truncate(path, HEADER_LIMIT + 100)
    with pytest.raises(HeaderError, match="exceeds 100000000"):
        Checkpoint.open(tmp_path)


def test_one_name_in_two_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(bytes_shard(w=b"1", x=b"2"))
    (tmp_path / "b.safetensors").write_bytes(bytes_shard(w=b"1"))
    both = r"both a\.safetensors and b\.safetensors hold the tensor 'w'"
    with pytest.raises(CheckpointError, match=both):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        pytest.param(b"{", "it is not JSON", id="not JSON"),
        pytest.param(b"[]", "it has no weight_map that names tensors", id="array"),
        pytest.param(
            b'{"weight_map": []}', "it has no weight_map that names tensors", id="weight_map array"
        ),
        pytest.param(
            b'{"weight_map": {}}', "it has no weight_map that names tensors", id="no tensors"
        ),
        pytest.param(
            b'{"weight_map": {"a": 1}}',
            "its weight_map does not map names to file names",
            id="shard number",
        ),
        pytest.param(
            b'{"weight_map": {"a": "s.safetensors", "a": "s.safetensors"}}',
            "it is not JSON",
            id="tensor twice",
        ),
        pytest.param(
            b'{"weight_map": {"a": "../s.safetensors"}}',
            "'../s.safetensors' is not the name of a safetensors file in its directory",
            id="outside",
        ),
        pytest.param(
            b'{"weight_map": {"a": "s.bin"}}',
            "'s.bin' is not the name of a safetensors file in its directory",
            id="pickle",
        ),
        pytest.param(
            b'{"weight_map": {"a": "s.safetensors", "b": "t.safetensors"}}',
            "the shard 't.safetensors' that it names does not exist",
            id="shard missing",
        ),
        pytest.param(
            b'{"weight_map": {"a": "s.safetensors", "b": "s.safetensors", "c": "s.safetensors"}}',
            "tensor 'c' is not in the shard 's.safetensors' as it says",
            id="tensor missing",
        ),
        pytest.param(
            b'{"weight_map": {"a": "s.safetensors"}}',
            "it does not name tensor 'b' of the shard 's.safetensors'",
            id="tensor not named",
        ),
    ],
)
def test_each_mistake_of_an_index_is_named(tmp_path: Path, index: bytes, reason: str) -> None:
    (tmp_path / INDEX).write_bytes(index)
    (tmp_path / "s.safetensors").write_bytes(bytes_shard(a=b"1", b=b"2"))
    with pytest.raises(WeightIndexError, match=re.escape(f"{INDEX} is wrong: {reason}")) as caught:
        Checkpoint.open(tmp_path)
    assert caught.value.path == tmp_path / INDEX


def test_a_tensor_in_another_shard_than_the_index_says_is_refused(tmp_path: Path) -> None:
    write_index(
        tmp_path / INDEX, {"a": "s.safetensors", "b": "s.safetensors", "c": "t.safetensors"}
    )
    (tmp_path / "s.safetensors").write_bytes(bytes_shard(a=b"1"))
    (tmp_path / "t.safetensors").write_bytes(bytes_shard(b=b"1", c=b"2"))
    with pytest.raises(WeightIndexError, match=r"'b' is not in the shard 's\.safetensors'"):
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
