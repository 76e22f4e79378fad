from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from pvc.weights.checkpoint import Checkpoint
from pvc.weights.fitting import fitted, without_wrappers
from pvc.weights.mismatch import mismatch
from pvc_store.kinds import KIND_BY_NAME
from pvc_store.tree import Tensor

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Model = dict[str, NDArray[np.float32]]

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Q = "model.layers.0.self_attn.q_proj.weight"
EXPERT = "model.layers.0.mlp.experts.0.up_proj.weight"
BASE: Model = {EMBED: np.arange(8, dtype="f4").reshape(4, 2), Q: np.ones((2, 2), "f4")}


def opened(folder: Path, model: Model) -> Checkpoint:
    folder.mkdir()
    save_file(model, folder / "model.safetensors", {"format": "pt"})
    return Checkpoint.open(folder)


def tree(model: Model) -> dict[str, Tensor]:
    """A tree with a digest for each content, which need not be the real one."""
    kind = KIND_BY_NAME["F32"]
    return {
        name: Tensor(name, kind, data.shape, data.tobytes()[:32].ljust(32, b"-"), b"k" * 16)
        for name, data in model.items()
    }


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        (f"_orig_mod.{Q}", Q),
        (f"module.{Q}", Q),
        (f"module._orig_mod.{Q}", Q),
        (f"base_model.model.{Q}", Q),
        ("model.layers.0._fsdp_wrapped_module.mlp.weight", "model.layers.0.mlp.weight"),
        ("model.layers.0._checkpoint_wrapped_module.w", "model.layers.0.w"),
        (Q, Q),
        ("model.module.weight", "model.module.weight"),
        ("base_model.model.score.weight", "base_model.model.score.weight"),
    ],
)
def test_names_of_wrappers(name: str, bare: str) -> None:
    assert without_wrappers(name) == bare


def test_a_result_in_a_wrapper_gets_the_names_of_the_base(tmp_path: Path) -> None:
    found = opened(tmp_path / "new", {f"_orig_mod.{name}": data for name, data in BASE.items()})
    after = fitted(found, tree(BASE))
    assert list(after.tensors) == [EMBED, Q]
    assert json.loads(after.shards[0].header).keys() == {"__metadata__", EMBED, Q}
    assert after.is_refit
    assert after.notes == (
        f"2 tensors have names of a wrapper, which are left away: _orig_mod.{EMBED} is {EMBED}",
    )


def test_a_wrapper_is_not_taken_off_if_other_differences_stay(tmp_path: Path) -> None:
    found = opened(tmp_path / "new", {f"_orig_mod.{EMBED}": BASE[EMBED]})
    assert fitted(found, tree(BASE)) == found


def test_a_head_that_equals_the_embedding_is_left_away(tmp_path: Path) -> None:
    found = opened(tmp_path / "new", {**BASE, HEAD: BASE[EMBED].copy()})
    after = fitted(found, tree(BASE))
    assert list(after.tensors) == [EMBED, Q]
    assert HEAD in after.notes[0]


def test_a_head_that_differs_from_the_embedding_stays(tmp_path: Path) -> None:
    found = opened(tmp_path / "new", {**BASE, HEAD: BASE[EMBED] + 1})
    assert fitted(found, tree(BASE)) == found


def test_a_head_that_the_base_has_twice_is_the_embedding(tmp_path: Path) -> None:
    found = opened(tmp_path / "new", BASE)
    after = fitted(found, tree({**BASE, HEAD: BASE[EMBED]}))
    assert after.tensors[HEAD].offset == after.tensors[EMBED].offset
    assert sorted(after.shards[0].names) == sorted([EMBED, HEAD, Q])
    assert fitted(found, tree({**BASE, HEAD: BASE[EMBED] + 1})) == found


def test_a_file_in_a_subfolder_that_the_base_does_not_know_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "new" / "sub").mkdir(parents=True)
    save_file({"w": np.ones(1, "f4")}, tmp_path / "new" / "sub" / "x.safetensors")
    save_file(BASE, tmp_path / "new" / "model.safetensors")
    after = fitted(Checkpoint.open(tmp_path / "new"), tree(BASE))
    assert after.files == ("sub/x.safetensors",)
    assert list(after.tensors) == [EMBED, Q]
    assert not after.is_refit


@pytest.mark.parametrize(
    ("base", "new", "cause", "facts"),
    [
        ({}, {EMBED: np.ones((4, 2), "f2")}, "dtype", ("F32",)),
        ({}, {EMBED: np.ones((5, 2), "f4")}, "vocabulary", ("4",)),
        ({}, {HEAD: np.ones((4, 2), "f4")}, "head", ()),
        ({HEAD: np.ones((4, 2), "f4")}, {}, "head", ()),
        ({}, {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(1, "f4")}, "buffer", ()),
        ({EXPERT: np.ones((2, 2), "f4")}, {}, "experts", ()),
        ({}, {f"{Q[:-7]}.lora_A.weight": np.ones((1, 2), "f4")}, "adapter", ()),
        ({"2/x.safetensors/w": np.ones(1, "f4")}, {}, "nested", ("2",)),
        ({"model.norm.weight": np.ones(2, "f4")}, {}, "subset", ()),
        ({}, {"_orig_mod.x": np.ones(2, "f4")}, "wrapper", ()),
        ({}, {"x": np.ones(2, "f4")}, None, ()),
    ],
)
def test_causes(
    tmp_path: Path, base: Model, new: Model, cause: str | None, facts: tuple[str, ...]
) -> None:
    found = opened(tmp_path / "new", {**BASE, **new})
    why = mismatch(tree({**BASE, **base}), found.tensors)
    assert (why and why.cause) == cause
    assert why is None or why.facts == facts
