from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from pvc.weights.checkpoint import Checkpoint
from pvc.weights.errors import CheckpointError, UnreadableError
from pvc.weights.folder import FileNameError, NoWeightsError, PickleError
from pvc.weights.reader import CheckpointReader
from pvc.weights.whole import AdapterError, EmptyWeightsError, MissingShardError, PointerError
from tests.support.shards import bytes_shard, write_index

if TYPE_CHECKING:
    from pathlib import Path


def put(folder: Path, *paths: str) -> None:
    """Make files: safetensors with one tensor named after the file, all others with a text."""
    for path in paths:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        stem = target.name.removesuffix(".safetensors")
        target.write_bytes(bytes_shard(**{stem: b"1"}) if stem != target.name else b"text")


def left_out(checkpoint: Checkpoint) -> dict[str, str]:
    return {item.path: item.reason for item in checkpoint.left_out}


def test_everything_else_belongs_to_it_or_is_left_out_for_a_reason(tmp_path: Path) -> None:
    put(
        tmp_path,
        "model.safetensors",
        "config.json",
        "tokenizer/vocab.txt",
        "runs.txt",
        "checkpoint-note",
        ".cache/config.json",
        ".gitattributes",
        "checkpoint-500/model.safetensors",
        "sub/checkpoint-1/trainer_state.json",
        "runs/events",
        "consolidated.safetensors",
        "2_Dense/model.safetensors",
        "2_Dense/config.json",
        "pytorch_model.bin",
        "sub/optimizer.PT",
        "spk_dict.pt",
        "3_Dense/pytorch_model.bin",
        "global_step7/mp_rank_00_model_states.pt",
        "bytes.bin/readme.md",
    )
    (tmp_path / "linked").symlink_to(tmp_path / "tokenizer")
    os.mkfifo(tmp_path / "pipe")
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.files == (
        "2_Dense/config.json",
        "3_Dense/pytorch_model.bin",
        "bytes.bin/readme.md",
        "checkpoint-note",
        "config.json",
        "runs.txt",
        "spk_dict.pt",
        "tokenizer/vocab.txt",
    )
    assert left_out(checkpoint) == {
        ".cache": "hidden",
        ".gitattributes": "hidden",
        "checkpoint-500": "checkpoint",
        "consolidated.safetensors": "unused",
        "global_step7": "checkpoint",
        "linked": "link",
        "pipe": "special",
        "pytorch_model.bin": "pickle",
        "runs": "runs",
        "sub/checkpoint-1": "checkpoint",
        "sub/optimizer.PT": "pickle",
    }
    assert [item.path for item in checkpoint.left_out] == sorted(left_out(checkpoint))
    assert [(shard.path, shard.apart) for shard in checkpoint.shards] == [
        ("2_Dense/model.safetensors", True),
        ("model.safetensors", False),
    ]
    assert list(checkpoint.tensors) == ["2_Dense/model.safetensors/model", "model"]
    assert {item.path for item in checkpoint.left_out if not item.matters} == {
        ".cache",
        ".gitattributes",
        "runs",
    }


def test_a_folder_that_is_itself_called_checkpoint_is_read(tmp_path: Path) -> None:
    put(tmp_path / "checkpoint-7", "model.safetensors")
    assert list(Checkpoint.open(tmp_path / "checkpoint-7").tensors) == ["model"]


def test_without_model_file_and_index_all_weights_count(tmp_path: Path) -> None:
    put(tmp_path, "b.safetensors", "a.safetensors")
    checkpoint = Checkpoint.open(tmp_path)
    assert list(checkpoint.tensors) == ["a", "b"]
    assert checkpoint.left_out == ()


def test_the_index_says_which_weights_count(tmp_path: Path) -> None:
    put(tmp_path, "a.safetensors", "b.safetensors", "c.safetensors")
    write_index(
        tmp_path / "model.safetensors.index.json", {"a": "a.safetensors", "b": "b.safetensors"}
    )
    write_index(tmp_path / "other.safetensors.index.json", {"c": "c.safetensors"})
    checkpoint = Checkpoint.open(tmp_path)
    assert list(checkpoint.tensors) == ["a", "b"]
    assert left_out(checkpoint) == {"c.safetensors": "unused"}
    assert checkpoint.files == ("model.safetensors.index.json", "other.safetensors.index.json")


def test_an_index_of_another_name_counts_if_it_is_the_only_one(tmp_path: Path) -> None:
    put(tmp_path, "a.safetensors", "b.safetensors")
    write_index(tmp_path / "diffusion.safetensors.index.json", {"a": "a.safetensors"})
    assert list(Checkpoint.open(tmp_path).tensors) == ["a"]
    write_index(tmp_path / "other.safetensors.index.json", {"b": "b.safetensors"})
    files = r"\(diffusion\.safetensors\.index\.json, other\.safetensors\.index\.json\)"
    with pytest.raises(CheckpointError, match=f"holds several sets of weights {files}"):
        Checkpoint.open(tmp_path)


def test_a_model_file_beside_the_shards_of_its_index_is_ambiguous(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors", "a.safetensors")
    write_index(tmp_path / "model.safetensors.index.json", {"a": "a.safetensors"})
    files = r"\(model\.safetensors, model\.safetensors\.index\.json\)"
    with pytest.raises(CheckpointError, match=f"holds several sets of weights {files}"):
        Checkpoint.open(tmp_path)


def test_a_model_file_that_its_index_names_is_not(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors")
    write_index(tmp_path / "model.safetensors.index.json", {"model": "model.safetensors"})
    assert list(Checkpoint.open(tmp_path).tensors) == ["model"]


def test_the_model_file_counts_before_an_index_of_another_name(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors", "c.safetensors")
    write_index(tmp_path / "consolidated.safetensors.index.json", {"c": "c.safetensors"})
    assert list(Checkpoint.open(tmp_path).tensors) == ["model"]


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "a.pt", "a.pth", "a.ckpt"]
)
def test_pickles_alone_are_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, "config.json")
    with pytest.raises(PickleError, match="save_pretrained") as caught:
        Checkpoint.open(tmp_path)
    assert caught.value.files == (name,)


@pytest.mark.parametrize("name", ["config.json", "sub/model.safetensors", "training_args.bin"])
def test_a_folder_without_weights_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    with pytest.raises(NoWeightsError, match="it holds no safetensors file") as caught:
        Checkpoint.open(tmp_path)
    assert caught.value.path == tmp_path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("gone", "it does not exist"),
        ("file", "it is not a directory"),
        ("file/x", "it does not exist"),
    ],
)
def test_what_is_no_folder_is_refused(tmp_path: Path, path: str, found: str) -> None:
    put(tmp_path, "file")
    with pytest.raises(NoWeightsError, match=f"is not a checkpoint: {found}") as caught:
        Checkpoint.open(tmp_path / path)
    assert caught.value.path == tmp_path / path


@pytest.mark.parametrize("target", ["gone", "tokenizer.json"])
def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path, target: str) -> None:
    put(tmp_path, "model.safetensors")
    (tmp_path / "tokenizer.json").symlink_to(target)
    with pytest.raises(UnreadableError) as caught:
        Checkpoint.open(tmp_path)
    assert caught.value.path == tmp_path / "tokenizer.json"


def test_a_folder_that_only_leads_to_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UnreadableError) as caught:
        Checkpoint.open(tmp_path / "loop")
    assert caught.value.path == tmp_path / "loop"


def test_a_pickle_that_leads_nowhere_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors")
    (tmp_path / "optimizer.pt").symlink_to("gone")
    assert left_out(Checkpoint.open(tmp_path)) == {"optimizer.pt": "pickle"}


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json", "sub"])
def test_what_may_not_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    put(tmp_path, "model.safetensors", "sub/file")
    write_index(tmp_path / "model.safetensors.index.json", {"model": "model.safetensors"})
    (tmp_path / name).chmod(0)
    if os.access(tmp_path / name, os.R_OK):
        pytest.skip("this user may read everything")
    try:
        with pytest.raises(UnreadableError) as caught:
            Checkpoint.open(tmp_path)
    finally:
        (tmp_path / name).chmod(0o700)
    assert caught.value.path == tmp_path / name


@pytest.mark.parametrize("name", [b"a\\b.json", b"a\nb.json", b"caf\xe9.json"])
def test_a_name_that_cannot_be_stored_is_an_error(tmp_path: Path, name: bytes) -> None:
    put(tmp_path, "model.safetensors")
    (tmp_path / os.fsdecode(name)).write_text("")
    with pytest.raises(FileNameError) as caught:
        Checkpoint.open(tmp_path)
    assert str(caught.value).isprintable()


def test_names_of_what_is_left_out_can_be_printed(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors")
    (tmp_path / os.fsdecode(b"optimizer-caf\xe9.pt")).write_text("")
    assert left_out(Checkpoint.open(tmp_path)) == {"optimizer-caf\\xe9.pt": "pickle"}


def test_the_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    blobs = tmp_path / "models--org--name" / "blobs"
    snapshot = tmp_path / "models--org--name" / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "f00").write_bytes(bytes_shard(w=b"1234"))
    (blobs / "ba5").write_text("{}")
    (snapshot / "model.safetensors").symlink_to("../../blobs/f00")
    (snapshot / "config.json").symlink_to("../../blobs/ba5")
    checkpoint = Checkpoint.open(snapshot)
    assert checkpoint.files == ("config.json",)
    assert checkpoint.fingerprint["model.safetensors"].inode == (blobs / "f00").stat().st_ino
    out = bytearray(4)
    with CheckpointReader(checkpoint) as reader:
        reader.read_into(checkpoint.tensors["w"], 0, out)
    assert out == b"1234"


def test_shards_in_a_subfolder_that_the_index_names_are_the_models_own(tmp_path: Path) -> None:
    put(tmp_path, "a.safetensors", "parts/b.safetensors", "dense/c.safetensors")
    places = {"a": "a.safetensors", "b": "parts/b.safetensors"}
    write_index(tmp_path / "model.safetensors.index.json", places)
    checkpoint = Checkpoint.open(tmp_path)
    assert list(checkpoint.tensors) == ["a", "b", "dense/c.safetensors/c"]


def test_of_two_shards_with_one_tensor_the_last_counts_if_the_index_names_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.safetensors").write_bytes(bytes_shard(v=b"1", w=b"1"))
    (tmp_path / "b.safetensors").write_bytes(bytes_shard(w=b"2"))
    index = tmp_path / "model.safetensors.index.json"
    write_index(index, {"v": "a.safetensors", "w": "b.safetensors"})
    checkpoint = Checkpoint.open(tmp_path)
    assert {name: place.file for name, place in checkpoint.tensors.items()} == {
        "v": "a.safetensors",
        "w": "b.safetensors",
    }
    assert [shard.names for shard in checkpoint.shards] == [("v",), ("w",)]
    assert checkpoint.notes == ("w is that of b.safetensors; a.safetensors holds another",)
    write_index(index, {"v": "a.safetensors", "w": "a.safetensors"})
    (tmp_path / "b.safetensors").write_bytes(bytes_shard(w=b"2", x=b"3"))
    write_index(index, {"v": "a.safetensors", "w": "a.safetensors", "x": "b.safetensors"})
    with pytest.raises(CheckpointError, match=r"both a\.safetensors and b\.safetensors hold"):
        Checkpoint.open(tmp_path)


def test_an_adapter_is_no_checkpoint(tmp_path: Path) -> None:
    put(tmp_path, "adapter_model.safetensors", "adapter_config.json")
    with pytest.raises(AdapterError) as caught:
        Checkpoint.open(tmp_path)
    assert caught.value.file == "adapter_model.safetensors"


def test_tensors_of_an_adapter_under_another_name_are_no_checkpoint(tmp_path: Path) -> None:
    tensors = {"l.lora_A.weight": b"1", "l.lora_B.weight": b"2"}
    (tmp_path / "model.safetensors").write_bytes(bytes_shard(**tensors))
    with pytest.raises(AdapterError):
        Checkpoint.open(tmp_path)


def test_an_adapter_beside_a_whole_model_travels_as_a_file(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors", "adapter_model.safetensors", "adapter_config.json")
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.files == ("adapter_config.json", "adapter_model.safetensors")
    assert list(checkpoint.tensors) == ["model"]
    assert "on top of them" in checkpoint.notes[0]


def test_missing_shards_are_noticed_without_an_index(tmp_path: Path) -> None:
    put(tmp_path, "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors")
    with pytest.raises(MissingShardError) as caught:
        Checkpoint.open(tmp_path)
    assert (caught.value.missing, caught.value.count) == ((2,), 3)
    put(tmp_path, "model-00002-of-00003.safetensors")
    assert len(Checkpoint.open(tmp_path).shards) == 3
    put(tmp_path, "sub/model-00001-of-00002.safetensors")
    with pytest.raises(MissingShardError):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_not_the_file(tmp_path: Path, name: str) -> None:
    put(tmp_path, "model.safetensors")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 4\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(PointerError) as caught:
        Checkpoint.open(tmp_path)
    assert caught.value.path == tmp_path / name


def test_weights_that_were_not_gathered_are_noticed(tmp_path: Path) -> None:
    save_file(
        {"norm.weight": np.ones(4, "f4"), "l.weight": np.empty(0, "f4")},
        tmp_path / "model.safetensors",
    )
    with pytest.raises(EmptyWeightsError) as caught:
        Checkpoint.open(tmp_path)
    assert caught.value.names == ("l.weight",)
