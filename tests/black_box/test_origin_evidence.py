"""A result is committed against what it was trained from, or not at all."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from tests.black_box.pvc_process import pvc, save, sure, weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Model = dict[str, NDArray[np.float16]]

NAMES = [f"layers.{i}.weight" for i in range(8)]


def base() -> Model:
    random = np.random.default_rng(0)
    return {name: (random.standard_normal((64, 64)) * 0.05).astype(np.float16) for name in NAMES}


def trained(of: Model, seed: int, step: float = 5e-5, names: list[str] = NAMES) -> Model:
    """Elements moved by a few units in the last place; some stay, as in a run with fp32 weights."""
    random = np.random.default_rng(seed)
    after = dict(of)
    for name in names:
        noise = random.standard_normal((64, 64)) * step
        after[name] = (of[name].astype(np.float32) + noise).astype(np.float16)
    return after


class Scene(NamedTuple):
    """A repository whose HEAD is base + listening."""

    root: Path
    work: Path
    base: Model
    listening: Model


@pytest.fixture
def made(tmp_path: Path) -> Scene:
    root = tmp_path.resolve()
    first = base()
    head = trained(first, 1)
    save(root / "base", first)
    save(root / "listening", head)
    sure(root, "init", root / "work", "--base", root / "base")
    sure(root / "work", "commit", "listening", "--from", root / "listening")
    return Scene(root, root / "work", first, head)


def head_weights(made: Scene, name: str) -> bytes:
    sure(made.work, "checkout", "HEAD", "--to", made.root / name, "--keep-head")
    return weights(made.root / name)


def test_less_of_head_is_not_taken_to_start_at_the_base(made: Scene) -> None:
    """It is nearer to the base, and has many of its elements: HEAD would get more, not less."""
    sure(made.work, "checkout", "base + 0.3*listening", "--to", made.root / "weak")
    result = made.root / "result"
    shutil.copytree(made.root / "weak", result)
    done = pvc(made.work, "commit", "unlearn", "--from", result)
    assert done.code == 19
    assert "--onto base" in done.err
    assert "--onto HEAD" in done.err
    assert pvc(made.work, "show", "HEAD").out.count("unlearn") == 0
    sure(made.work, "commit", "unlearn", "--from", result, "--onto", "HEAD")
    assert head_weights(made, "after") == weights(result)


@pytest.mark.parametrize("text", ["base - 0.3*listening", "base + 2*listening"])
def test_nor_is_anything_else_along_heads_change(made: Scene, text: str) -> None:
    sure(made.work, "checkout", text, "--to", made.root / "made")
    shutil.copytree(made.root / "made", made.root / "result")
    done = pvc(made.work, "commit", "less", "--from", made.root / "result")
    assert done.code == 19
    assert "along HEAD's own" in done.err


def test_head_is_compared_in_the_dtype_of_the_result(tmp_path: Path) -> None:
    """HEAD is the float32 master of a run, and a run that began there is saved in 16 bits."""
    first, random = base(), np.random.default_rng(1)
    master = {
        name: of.astype(np.float32) + (random.standard_normal((64, 64)) * 5e-6).astype(np.float32)
        for name, of in first.items()
    }
    save(tmp_path / "base", first)
    save(tmp_path / "listening", master)
    rounded = {name: of.astype(np.float16) for name, of in master.items()}
    save(tmp_path / "result", trained(rounded, 2, step=1e-4, names=NAMES[:2]))
    sure(tmp_path, "init", "work", "--base", "base")
    work = tmp_path / "work"
    sure(work, "commit", "listening", "--from", tmp_path / "listening")
    done = json.loads(sure(work, "commit", "new", "--from", tmp_path / "result", "--json"))
    assert (done["origin"], done["origin_reason"]) == ("HEAD", "elements")


def test_the_last_step_trained_anew_needs_no_answer(made: Scene) -> None:
    """From the base it replaces the vector, from HEAD it extends it: the same weights."""
    result = save(made.root / "result", trained(made.base, 16))
    done = json.loads(sure(made.work, "commit", "listening", "--from", result, "--json"))
    assert (done["origin_reason"], done["head_is_result"]) == ("same", True)
    assert head_weights(made, "after") == weights(result)


def test_a_run_from_head_back_towards_the_base_is_not_taken_to_start_there(made: Scene) -> None:
    """Unlearning with float32 weights: nearer to the base, and no side has the bits."""
    random = np.random.default_rng(5)
    back = {
        name: (
            made.base[name].astype(np.float32)
            + 0.4 * (made.listening[name].astype(np.float32) - made.base[name])
            + random.standard_normal((64, 64)) * 2e-5
        ).astype(np.float16)
        for name in NAMES
    }
    result = save(made.root / "result", back)
    done = pvc(made.work, "commit", "unlearn", "--from", result)
    assert done.code == 19
    sure(made.work, "commit", "unlearn", "--from", result, "--onto", "HEAD")
    assert head_weights(made, "after") == weights(result)


def test_a_stronger_run_from_the_base_is_kept_aside(made: Scene) -> None:
    """A sweep: HEAD is nearer, but nothing says that the run began there."""
    strong = {
        name: (
            made.base[name].astype(np.float32)
            + 1.8 * (made.listening[name].astype(np.float32) - made.base[name])
            + np.random.default_rng(6).standard_normal((64, 64)) * 2e-5
        ).astype(np.float16)
        for name in NAMES
    }
    result = save(made.root / "strong", strong)
    done = json.loads(sure(made.work, "commit", "strong", "--from", result, "--aside", "--json"))
    assert (done["origin"], done["origin_reason"], done["applied"]) == ("base", "aside", False)
    said = sure(made.work, "commit", "again", "--from", result, "--aside")
    assert "origin    the base, since nothing tells" in said
    assert pvc(made.work, "commit", "third", "--from", result).code == 19
    sure(made.work, "checkout", "strong", "--to", made.root / "after")
    assert weights(made.root / "after") == weights(result)


@pytest.mark.parametrize(("of", "told"), [("base", "base"), ("listening", "HEAD")])
def test_frozen_parts_tell_it(made: Scene, of: str, told: str) -> None:
    start = made.base if of == "base" else made.listening
    result = save(made.root / "result", trained(start, 7, names=NAMES[:2]))
    done = json.loads(sure(made.work, "commit", "new", "--from", result, "--json"))
    assert (done["origin"], done["origin_reason"]) == (told, "elements")
    whole = [done["evidence"][side] for side in ("whole_base", "whole_head")]
    assert min(whole) == 0
    assert sum(whole) > 0.7 * done["evidence"]["differing"]
    assert done["head_is_result"] is (told == "HEAD")
    assert (head_weights(made, "after") == weights(result)) is (told == "HEAD")


@pytest.mark.parametrize(("of", "told"), [("base", "base"), ("listening", "HEAD")])
def test_the_bits_that_a_short_run_left_alone_tell_it(made: Scene, of: str, told: str) -> None:
    """Training in 16 bits moves few elements, in every tensor."""
    start = made.base if of == "base" else made.listening
    random = np.random.default_rng(8)
    moved = {
        name: np.where(random.random((64, 64)) < 0.05, start[name] * np.float16(1.01), start[name])
        for name in NAMES
    }
    result = save(made.root / "result", moved)
    done = json.loads(sure(made.work, "commit", "new", "--from", result, "--json"))
    assert (done["origin"], done["origin_reason"]) == (told, "elements")
    counts = done["evidence"]
    high, low = (counts["like_base"], counts["like_head"])[:: 1 if of == "base" else -1]
    assert high >= 20 * low
    assert high > 0.9 * counts["differing"]


def test_what_the_trainer_names_is_the_parent(made: Scene) -> None:
    for name, parent, told in (("one", "../listening", "HEAD"), ("two", "base", "base")):
        result = save(made.root / name, trained(made.listening, 9))
        (result / "trainer_state.json").write_text(json.dumps({"model_name_or_path": parent}))
        done = json.loads(sure(made.work, "commit", name, "--from", result, "--aside", "--json"))
        assert (done["origin"], done["origin_reason"]) == (told, "trainer_state")


@pytest.mark.parametrize("key", ["model_name_or_path", "pvc_parent"])
def test_a_trainers_file_that_came_from_the_parent_says_nothing(made: Scene, key: str) -> None:
    """A checkout brings it along, with the parent's parent in it."""
    tree = json.loads(sure(made.work, "status", "--json"))["base"]["tree"]
    parent = save(made.root / "parent", trained(made.listening, 10))
    named = tree if key == "pvc_parent" else "base"
    (parent / "trainer_state.json").write_text(json.dumps({key: named}))
    sure(made.work, "commit", "polite", "--from", parent, "--onto", "HEAD")
    result = save(made.root / "result", trained(trained(made.listening, 10), 11))
    shutil.copy(parent / "trainer_state.json", result)
    assert pvc(made.work, "commit", "kind", "--from", result).code == 19


def test_a_default_in_pvc_toml(made: Scene) -> None:
    result = save(made.root / "result", trained(made.base, 12))
    assert pvc(made.work, "commit", "new", "--from", result).code == 19
    file = made.work / "pvc.toml"
    file.write_text(file.read_text() + '\n[commit]\nonto = "base"\n')
    sure(made.work, "commit", "-m", "results start at the base")
    done = json.loads(sure(made.work, "commit", "new", "--from", result, "--json"))
    assert (done["origin"], done["origin_reason"], done["head_is_result"]) == (
        "base",
        "pvc.toml",
        False,
    )


def test_a_default_goes_before_what_aside_takes(made: Scene) -> None:
    file = made.work / "pvc.toml"
    file.write_text(file.read_text() + '\n[commit]\nonto = "HEAD"\n')
    sure(made.work, "commit", "-m", "results start at HEAD")
    result = save(made.root / "result", trained(made.listening, 17))
    done = json.loads(sure(made.work, "commit", "new", "--from", result, "--aside", "--json"))
    assert (done["origin"], done["origin_reason"]) == ("HEAD", "pvc.toml")


def test_it_is_said_when_heads_weights_are_not_those_of_the_folder(made: Scene) -> None:
    result = save(made.root / "result", trained(made.base, 13))
    said = sure(made.work, "commit", "new", "--from", result, "--onto", "base")
    assert "these are not the weights of" in said
    other = save(made.root / "other", trained(made.base, 14))
    said = sure(made.work, "commit", "aside", "--from", other, "--onto", "base", "--aside")
    assert "these are not the weights" not in said


def test_a_target_that_was_refilled_from_elsewhere(made: Scene) -> None:
    sure(made.work, "checkout", "main", "--to", "served")
    frozen = trained(made.base, 15, names=NAMES[:2])
    source = save(made.root / "other", frozen)
    shutil.copyfile(source / "model.safetensors", made.work / "served" / "model.safetensors")
    done = pvc(made.work, "commit", "new", "--from", "served")
    assert done.code == 19
    assert "hardly trained from that" in done.err
