"""What a result was trained from is not guessed by distance."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.black_box.pvc_process import drawn, pvc, save, sure

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Weights = dict[str, "NDArray[np.float32]"]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """HEAD is base + listening."""
    base = drawn(0)
    save(tmp_path / "base", base)
    save(tmp_path / "listening", drawn(1, base))
    sure(tmp_path, "init", "work", "--base", "base")
    sure(tmp_path / "work", "commit", "listening", "--from", "../listening")
    return tmp_path / "work"


def stepped(of: Weights, seed: int, share: float) -> Weights:
    """A run in place: a share of the elements moves, the others keep their bits."""
    random = np.random.default_rng(seed)
    moved = drawn(seed, of)
    return {
        name: np.where(random.random(old.shape) < share, moved[name], old).astype(np.float32)
        for name, old in of.items()
    }


def terms(work: Path) -> str:
    return str(json.loads(sure(work, "status", "--json"))["personality"])


def test_unlearning_is_not_taken_for_learning(work: Path) -> None:
    """Less of what HEAD learned lies nearer to the base; as a vector of the base it is more."""
    sure(work, "checkout", "base + 0.3*listening", "--to", "../weak")
    shutil.copytree(work.parent / "weak", work.parent / "result")
    done = pvc(work, "commit", "unlearn", "--from", "../result")
    assert done.code == 19
    assert "--onto HEAD" in done.err
    assert terms(work) == "base + listening"
    sure(work, "commit", "unlearn", "--from", "../result", "--onto", "HEAD")
    sure(work, "checkout", "main", "--to", "../served")
    result, served = (work.parent / name / "model.safetensors" for name in ("result", "served"))
    assert result.read_bytes() == served.read_bytes()


def test_a_stronger_run_stays_aside(work: Path) -> None:
    """It began at the base, and is nearer to HEAD."""
    base = drawn(0)
    direction = drawn(1, base)
    noise = drawn(5, base)
    stronger = {
        name: (base[name] + 2 * (direction[name] - base[name]) + 0.1 * (noise[name] - base[name]))
        for name in base
    }
    save(work.parent / "stronger", stronger)
    done = pvc(work, "commit", "hi", "--from", "../stronger", "--aside")
    assert done.code == 0, done.err
    assert "the base, since nothing tells" in done.out
    vector = json.loads(sure(work, "show", "hi", "--json"))
    assert "base" in json.dumps(vector)
    assert pvc(work, "commit", "hi2", "--from", "../stronger").code == 19


def test_the_elements_tell_the_base(work: Path) -> None:
    save(work.parent / "result", stepped(drawn(0), 7, 0.05))
    out = sure(work, "commit", "polite", "--from", "../result")
    assert "the base, by its elements; of " in out
    assert "these are not the weights of" in out
    assert terms(work) == "base + listening + polite"


def test_the_elements_tell_head(work: Path) -> None:
    save(work.parent / "result", stepped(drawn(1, drawn(0)), 7, 0.05))
    out = sure(work, "commit", "polite", "--from", "../result", "--json")
    done = json.loads(out)
    assert (done["origin"], done["origin_reason"]) == ("HEAD", "elements")
    assert done["head_is_result"]
    assert done["evidence"]["like_head"] > 20 * done["evidence"]["like_base"]


def test_frozen_tensors_tell_the_base(work: Path) -> None:
    base, trained = drawn(0), drawn(7, drawn(0))
    save(work.parent / "result", {**base, "l0.w": trained["l0.w"], "l1.w": trained["l1.w"]})
    assert "the base, by its elements" in sure(work, "commit", "polite", "--from", "../result")


def test_nothing_tells(work: Path) -> None:
    save(work.parent / "result", drawn(7, drawn(0)))
    done = pvc(work, "commit", "polite", "--from", "../result")
    assert done.code == 19
    for said in ("--onto base", "--onto HEAD", "base + listening + polite"):
        assert said in done.err
    config = work / "pvc.toml"
    config.write_text(config.read_text() + '\n[commit]\nonto = "base"\n')
    subprocess.run(["git", "commit", "-qam", "onto"], cwd=work, check=True)
    assert "pvc.toml says so" in sure(work, "commit", "polite", "--from", "../result")


def test_a_trainer_names_the_parent(work: Path) -> None:
    base, head = (json.loads(sure(work, "status", "--json"))[name] for name in ("base", "tree"))
    result = save(work.parent / "result", drawn(7, drawn(1, drawn(0))))
    (result / "trainer_state.json").write_text(json.dumps({"pvc_parent": head}))
    done = json.loads(sure(work, "commit", "polite", "--from", "../result", "--json"))
    assert (done["origin"], done["origin_reason"]) == ("HEAD", "trainer_state")
    assert base["tree"] != head
    other = save(work.parent / "other", drawn(8, drawn(0)))
    (other / "trainer_state.json").write_text(json.dumps({"pvc_parent": "ab" * 32}))
    assert pvc(work, "commit", "x", "--from", "../other").code == 19
    for text in (head[:12], head.upper(), "main", 7):
        (other / "trainer_state.json").write_text(json.dumps({"pvc_parent": text}))
        done = pvc(work, "commit", "x", "--from", "../other", "--aside")
        assert done.code == 19
        assert "no tree id" in done.err


def test_a_target_is_its_own_witness(work: Path) -> None:
    """Also where training unlearns: its record says what was checked out there."""
    served = work.parent / "served"
    sure(work, "checkout", "main", "--to", served)
    less = {
        name: (old + 0.3 * (drawn(1, drawn(0))[name] - old)).astype(np.float32)
        for name, old in drawn(0).items()
    }
    save(work.parent / "new", less)
    shutil.copyfile(work.parent / "new" / "model.safetensors", served / "model.safetensors")
    done = json.loads(sure(work, "commit", "unlearn", "--from", served, "--json"))
    assert (done["origin_reason"], done["head_is_result"]) == ("target", True)


def trained_from(work: Path, name: str, seed: int, parent: Path) -> Path:
    """A full run with fp32 masters from HEAD, whose trainer names a directory as its parent."""
    result = save(work.parent / name, drawn(seed, drawn(1, drawn(0))))
    state = json.dumps({"model_name_or_path": str(parent)})
    (result / "trainer_state.json").write_text(state)
    return result


def test_a_parent_that_held_one_tree_alone_is_believed(work: Path) -> None:
    served = work.parent / "served"
    sure(work, "checkout", "main", "--to", served)
    result = trained_from(work, "result", 7, served)
    out = sure(work, "commit", "polite", "--from", result)
    assert "main" in out or "HEAD" in out
    assert "which the trainer's files name" in out
    assert terms(work) == "base + listening + polite"
    sure(work, "checkout", "main", "--to", work.parent / "again")
    assert (work.parent / "again" / "model.safetensors").read_bytes() == (
        result / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("what", ["other weights", "removed", "made anew", "trained in place"])
def test_a_parent_that_was_changed_since_is_no_evidence(work: Path, what: str) -> None:
    """What it holds now need not be what the run began with."""
    served = work.parent / "served"
    sure(work, "checkout", "main", "--to", served)
    result = trained_from(work, "result", 7, served)
    if what == "other weights":
        sure(work, "checkout", "base", "--to", served)
    elif what == "trained in place":
        shutil.copyfile(result / "model.safetensors", served / "model.safetensors")
    else:
        shutil.rmtree(served)
    if what == "made anew":
        sure(work, "checkout", "base", "--to", served)
    done = pvc(work, "commit", "polite", "--from", result)
    assert done.code == 19, done
    assert "--onto" in done.err
    assert terms(work) == "base + listening"


def test_a_source_that_was_written_to_since_is_no_evidence(work: Path) -> None:
    """The next run went to the same output directory; HEAD came from the one before."""
    source = work.parent / "listening"
    result = trained_from(work, "result", 7, source)
    again = drawn(1, drawn(0))
    time.sleep(2.1)  # the date of a commit has whole seconds
    shutil.rmtree(source)
    save(source, stepped(again, 9, 0.5))
    assert pvc(work, "commit", "polite", "--from", result).code == 19
    shutil.rmtree(source)


def test_a_source_as_it_was_committed_is_believed(work: Path) -> None:
    result = trained_from(work, "result", 7, work.parent / "listening")
    done = json.loads(sure(work, "commit", "polite", "--from", result, "--json"))
    assert (done["origin"], done["origin_reason"]) == ("HEAD", "trainer_state")


def test_a_norm_of_coarse_steps_does_not_decide(tmp_path: Path) -> None:
    """Of a run from HEAD, it happens to go back to the base."""
    ones = np.ones(64, np.float32)
    moved = ones.copy()
    moved[:40] += np.float32(2**-7)
    base = {**drawn(0), "norm": ones}
    head = {**drawn(1, drawn(0)), "norm": moved}
    save(tmp_path / "base", base)
    save(tmp_path / "listening", head)
    sure(tmp_path, "init", "work", "--base", "base")
    sure(tmp_path / "work", "commit", "listening", "--from", "../listening")
    save(tmp_path / "result", {**drawn(8, drawn(1, drawn(0))), "norm": ones})
    assert pvc(tmp_path / "work", "commit", "polite", "--from", "../result").code == 19


def test_a_parent_whose_record_began_anew_is_no_evidence(work: Path) -> None:
    """It was forgotten, and made again with other weights, after the run."""
    served = work.parent / "served"
    sure(work, "checkout", "main", "--to", served)
    result = trained_from(work, "result", 7, served)
    shutil.rmtree(served)
    sure(work, "forget", served)
    sure(work, "checkout", "base", "--to", served, "--keep-head")
    assert pvc(work, "commit", "polite", "--from", result).code == 19


def test_a_base_that_was_written_to_is_no_evidence(work: Path) -> None:
    """Its folder holds other weights than those that are stored of it."""
    time.sleep(2.1)
    folder = work.parent / "base"
    shutil.rmtree(folder)
    save(folder, drawn(1, drawn(0)))
    result = trained_from(work, "result", 7, folder)
    assert pvc(work, "commit", "polite", "--from", result).code == 19


@pytest.mark.parametrize("all_tensors", [False, True])
@pytest.mark.parametrize("aside", [False, True])
def test_two_runs_from_one_head(work: Path, all_tensors: bool, aside: bool) -> None:
    """The second did not start at what HEAD is by then, and must not undo the first."""
    start = drawn(1, drawn(0))
    first, second = stepped(start, 7, 0.05), stepped(start, 8, 0.05)
    if not all_tensors:  # as of two runs that train other parts
        first = {name: first[name] if name < "l4" else start[name] for name in start}
        second = {name: second[name] if name >= "l6" else start[name] for name in start}
    save(work.parent / "first", first)
    save(work.parent / "second", second)
    assert "HEAD, by its elements" in sure(work, "commit", "polite", "--from", "../first")
    words = ("commit", "kind", "--from", "../second", *(["--aside"] if aside else []))
    done = pvc(work, *words)
    before = subprocess.run(
        ["git", "rev-parse", "HEAD~1"], cwd=work, check=True, capture_output=True, text=True
    ).stdout[:10]
    assert done.code == 19, done
    assert f"seems to be trained from commit {before} rather than from HEAD" in done.err
    sure(work, *words, "--onto", "HEAD~1")
    if aside:
        return
    assert terms(work) == "base + listening + polite + kind"
    sure(work, "checkout", "main", "--to", work.parent / "both")
    both = np.concatenate(
        [one.ravel() for one in load_file(work.parent / "both" / "model.safetensors").values()]
    )
    wanted = np.concatenate([(first[n] + (second[n] - start[n])).ravel() for n in sorted(first)])
    assert np.allclose(both, wanted, atol=1e-5)


def test_a_run_from_what_head_was_is_not_taken_for_one_from_the_base(tmp_path: Path) -> None:
    """The last commit made nearly all of HEAD's change, and the run began before it."""
    base = drawn(0)
    little = {**base, "l0.w": stepped(base, 3, 0.01)["l0.w"]}
    much = drawn(5, little)
    for name, weights in (
        ("base", base), ("little", little), ("much", much), ("run", stepped(little, 9, 0.02)),
    ):  # fmt: skip
        save(tmp_path / name, weights)
    sure(tmp_path, "init", "work", "--base", "base")
    work = tmp_path / "work"
    sure(work, "commit", "little", "--from", "../little")
    sure(work, "commit", "much", "--from", "../much", "--onto", "HEAD")
    done = pvc(work, "commit", "next", "--from", "../run")
    assert done.code == 19
    assert "rather than from the base" in done.err
    sure(work, "commit", "next", "--from", "../run", "--onto", "HEAD~1")
