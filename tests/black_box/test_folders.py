"""Folders of models as people have them, seen from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.black_box.pvc_process import killed, pvc, save, sure

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[np.float32]]

NAME = "model.layers.0.self_attn.q_proj.weight"


def ones(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, np.float32)


def nested(folder: Path, dense: float = 0, speakers: bytes = b"pickle") -> Path:
    """A model with a dense layer in a subfolder, and a pickle that it needs."""
    save(folder, {NAME: ones(4, 4)})
    (folder / "2_Dense").mkdir()
    save_file({NAME: dense * ones(4, 4)}, folder / "2_Dense" / "model.safetensors")
    (folder / "2_Dense" / "config.json").write_text("{}")
    (folder / "spk_dict.pt").write_bytes(speakers)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_weights_in_subfolders_are_weights(tmp_path: Path) -> None:
    base, result = nested(tmp_path / "base"), nested(tmp_path / "result", 1)
    work, out = tmp_path / "work", tmp_path / "out"
    sure(tmp_path, "init", work, "--base", base)
    sure(work, "commit", "dense", "--from", result)
    sure(work, "checkout", "base", "--to", out)
    assert contents(out) == contents(base)
    sure(work, "checkout", "main", "--to", out)
    assert contents(out) == contents(result)
    sure(work, "checkout", "base + 0.5*dense", "--to", tmp_path / "half")
    half = contents(tmp_path / "half")
    assert half["2_Dense/model.safetensors"][-4:] == np.float32(0.5).tobytes()
    assert half["model.safetensors"] == contents(base)["model.safetensors"]
    sure(work, "fsck")
    (out / "2_Dense" / "model.safetensors").write_bytes(half["2_Dense/model.safetensors"])
    drifted = pvc(work, "checkout", "base", "--to", out)
    assert drifted.code != 0
    assert "2_Dense/model.safetensors" in drifted.err


def test_a_checkout_of_weights_in_subfolders_that_is_killed_is_settled(tmp_path: Path) -> None:
    base, result = tmp_path / "base", tmp_path / "result"
    for folder, factor in ((base, 1), (result, 2)):
        save(folder, {NAME: factor * ones(4, 4)})
        (folder / "2_Dense").mkdir()
        save_file({NAME: factor * ones(4096, 4096)}, folder / "2_Dense" / "model.safetensors")
    work = tmp_path / "work"
    sure(tmp_path, "init", work, "--base", base)
    sure(work, "commit", "dense", "--from", result)
    sure(work, "checkout", "main", "--to", "served")
    killed(work, "checkout", "base", "--keep-head", "--to", "served")
    sure(work, "checkout", "main", "--to", "served")
    assert contents(work / "served") == contents(result)
    sure(work, "checkout", "base", "--to", "served")
    assert contents(work / "served") == contents(base)


def test_nothing_changed_is_not_said_where_a_file_differs(tmp_path: Path) -> None:
    base, result = nested(tmp_path / "base"), nested(tmp_path / "result", 0, b"other")
    sure(tmp_path, "init", tmp_path / "work", "--base", base)
    done = pvc(tmp_path / "work", "commit", "speakers", "--from", result)
    assert done.code == 1
    assert "Nothing changed" not in done.err
    assert "spk_dict.pt" in done.err


def test_nothing_changed_is_not_said_of_what_was_not_compared(tmp_path: Path) -> None:
    base, result = nested(tmp_path / "base"), nested(tmp_path / "result")
    (result / "checkpoint-5").mkdir()
    (result / "checkpoint-5" / "model.safetensors").write_bytes(b"")
    sure(tmp_path, "init", tmp_path / "work", "--base", base)
    done = pvc(tmp_path / "work", "commit", "none", "--from", result)
    assert done.code == 1
    assert "Nothing changed" not in done.err
    assert "checkpoint-5" in done.err


def test_what_is_left_out_is_named_even_if_quiet(tmp_path: Path) -> None:
    base = nested(tmp_path / "base")
    for name in ("optimizer.pt", "pytorch_model.bin"):
        (base / name).write_bytes(b"pickle")
    (base / "global_step10").mkdir()
    done = pvc(tmp_path, "init", tmp_path / "work", "--base", base, "-q")
    assert done.code == 0
    assert all(name in done.err for name in ("optimizer.pt", "pytorch_model.bin", "global_step10"))


def lora() -> Tensors:
    start = f"base_model.model.{NAME.removesuffix('.weight')}"
    return {f"{start}.lora_A.weight": ones(2, 4), f"{start}.lora_B.weight": ones(4, 2)}


def adapter_config(folder: Path) -> None:
    text = json.dumps({"peft_type": "LORA", "r": 2, "base_model_name_or_path": "x"})
    (folder / "adapter_config.json").write_text(text)


def test_an_adapter_is_no_base(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_file(lora(), adapter / "adapter_model.safetensors")
    adapter_config(adapter)
    done = pvc(tmp_path, "init", tmp_path / "work", "--base", adapter)
    assert done.code == 19
    assert "merge_and_unload" in done.err
    assert not (tmp_path / "work").exists()


def test_leftover_files_of_an_adapter_come_back_as_they_were(tmp_path: Path) -> None:
    base = save(tmp_path / "base", {NAME: ones(4, 4)})
    result = save(tmp_path / "result", {NAME: 2 * ones(4, 4)})
    save_file(lora(), result / "adapter_model.safetensors")
    adapter_config(result)
    sure(tmp_path, "init", tmp_path / "work", "--base", base)
    done = pvc(tmp_path / "work", "commit", "merged", "--from", result, "-q")
    assert done.code == 0
    assert "adapter_config.json" in done.err
    sure(tmp_path / "work", "checkout", "main", "--to", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(result)


@pytest.mark.parametrize("kind", ["pointer", "other pointer", "shards", "empty"])
def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path: Path, kind: str) -> None:
    broken = save(tmp_path / "broken", {NAME: ones(4, 4), "n.weight": ones(4)})
    weights = broken / "model.safetensors"
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 4\n"
    if kind == "pointer":
        weights.write_text(pointer)
    elif kind == "other pointer":
        (broken / "tokenizer.json").write_text(pointer)
    elif kind == "shards":
        weights.rename(broken / "model-00001-of-00002.safetensors")
    else:
        save_file({NAME: ones(0), "n.weight": ones(4)}, weights)
    expected = {"shards": "number 2 is missing", "empty": "ZeRO-3"}.get(kind, "git lfs pull")
    done = pvc(tmp_path, "init", tmp_path / "work", "--base", broken)
    assert done.code == 19
    assert expected in done.err
    base = save(tmp_path / "base", {NAME: ones(4, 4), "n.weight": ones(4)})
    sure(tmp_path, "init", tmp_path / "work", "--base", base)
    done = pvc(tmp_path / "work", "commit", "broken", "--from", broken)
    assert done.code == 19
    assert expected in done.err


def index(folder: Path, weight_map: dict[str, str]) -> None:
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


def test_shards_of_an_overlay_and_in_subfolders_count_as_the_index_says(tmp_path: Path) -> None:
    base = save(tmp_path / "base", {NAME: ones(4, 4), "n.weight": ones(4)})
    result = tmp_path / "result"
    (result / "parts").mkdir(parents=True)
    (result / "config.json").write_text("{}")
    save_file({NAME: ones(4, 4), "n.weight": ones(4)}, result / "a.safetensors")
    save_file({NAME: 3 * ones(4, 4)}, result / "parts" / "overlay.safetensors")
    index(result, {NAME: "parts/overlay.safetensors", "n.weight": "a.safetensors"})
    sure(tmp_path, "init", tmp_path / "work", "--base", base)
    done = pvc(tmp_path / "work", "commit", "overlaid", "--from", result)
    assert done.code == 0, done.err
    assert "a.safetensors holds another" in done.err
    sure(tmp_path / "work", "checkout", "main", "--to", tmp_path / "out")
    out = contents(tmp_path / "out")
    assert out["parts/overlay.safetensors"] == contents(result)["parts/overlay.safetensors"]
    found = json.loads(out["model.safetensors.index.json"])
    assert found["weight_map"] == {NAME: "parts/overlay.safetensors", "n.weight": "a.safetensors"}
    assert out["a.safetensors"][-16:] == ones(4).tobytes()
    assert len(out["a.safetensors"]) < len(contents(result)["a.safetensors"]) - 60


EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def rows(first: float) -> NDArray[np.float32]:
    return first + np.arange(8, dtype=np.float32).reshape(4, 2)


def test_a_wrapper_and_a_tied_head_are_accepted(tmp_path: Path) -> None:
    base = save(tmp_path / "base", {EMBED: rows(0), NAME: ones(2, 2)})
    trained = {EMBED: rows(1), NAME: 2 * ones(2, 2), HEAD: rows(1)}
    result = save(tmp_path / "result", {f"_orig_mod.{name}": w for name, w in trained.items()})
    work = tmp_path / "work"
    sure(tmp_path, "init", work, "--base", base)
    done = pvc(work, "commit", "trained", "--from", result, "-q")
    assert done.code == 0, done.err
    assert HEAD in done.err
    assert "_orig_mod" in done.err
    sure(work, "checkout", "main", "--to", tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == {EMBED, NAME}
    assert all(np.array_equal(found[name], trained[name]) for name in found)
    sure(work, "fsck")


def test_a_head_that_is_left_away_comes_from_the_embedding(tmp_path: Path) -> None:
    base = save(tmp_path / "base", {EMBED: rows(0), HEAD: rows(0), NAME: ones(2, 2)})
    result = save(tmp_path / "result", {EMBED: rows(1), NAME: ones(2, 2)})
    work = tmp_path / "work"
    sure(tmp_path, "init", work, "--base", base)
    sure(work, "commit", "trained", "--from", result)
    sure(work, "checkout", "main", "--to", tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == {EMBED, NAME, HEAD}
    assert all(np.array_equal(found[name], rows(1)) for name in (EMBED, HEAD))


@pytest.mark.parametrize(
    ("changed", "cause", "remedy"),
    [
        ({EMBED: rows(0).astype(np.float16)}, "saved as F16", "save_pretrained"),
        ({EMBED: np.ones((9, 2), np.float32)}, "resized", "resize_token_embeddings(4)"),
        ({HEAD: rows(5)}, "untied", "tie_word_embeddings"),
        ({"model.rotary_emb.inv_freq": ones(2)}, "buffers", "from_pretrained"),
        ({"model.layers.0.mlp.experts.up_proj": ones(1)}, "experts", "same version"),
        ({f"{NAME[:-7]}.lora_A.weight": ones(2, 2)}, "adapter", "merge_and_unload"),
    ],
)
def test_a_refusal_names_cause_and_remedy(
    tmp_path: Path, changed: Tensors, cause: str, remedy: str
) -> None:
    weights = {EMBED: rows(0), NAME: ones(2, 2)}
    result = save(tmp_path / "result", {**weights, **changed})
    (result / "adapter_config.json").write_text("{}")
    sure(tmp_path, "init", tmp_path / "work", "--base", save(tmp_path / "base", weights))
    done = pvc(tmp_path / "work", "commit", "x", "--from", result)
    assert done.code == 15
    assert cause in done.err.replace("\n", " ")
    assert remedy in done.err.replace("\n", " ")
