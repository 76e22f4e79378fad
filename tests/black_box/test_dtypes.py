"""Weights that were committed in wider floats than the base's, and how they are checked out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.black_box.pvc_process import pvc, save, sure, weights

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (128, 128)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """HEAD is base + master; `rounded` is what its trainer saves in 16 bits."""
    random = np.random.default_rng(0)
    base = {f"l{i}": (random.standard_normal(SHAPE) * 0.05).astype(np.float16) for i in range(3)}
    master = {
        name: of.astype(np.float32) + (random.standard_normal(SHAPE) * 5e-6).astype(np.float32)
        for name, of in base.items()
    }
    save(tmp_path / "base", base)
    save(tmp_path / "master", master)
    save(tmp_path / "rounded", {name: of.astype(np.float16) for name, of in master.items()})
    sure(tmp_path, "init", "work", "--base", "base")
    sure(tmp_path / "work", "commit", "master", "--from", "../master")
    return tmp_path / "work"


@pytest.mark.parametrize("revision", ["main", "master", "base + master"])
@pytest.mark.parametrize("dtype", ["base", "F16", "float16"])
def test_a_master_in_the_dtype_of_the_base(work: Path, revision: str, dtype: str) -> None:
    head = sure(work, "log", "--json")
    out = sure(work, "checkout", revision, "--to", "../out", "--dtype", dtype, "--json")
    assert weights(work.parent / "out") == weights(work.parent / "rounded")
    found = json.loads(out)["dtypes"]
    assert (found["rule"], found["written"], found["other"]) == ("rounded", ["F16"], ["F32"])
    assert found["kept"] == pytest.approx(projection(work.parent), abs=1e-6)
    assert 0.2 < found["kept"] < 0.8
    assert not json.loads(out)["head_moved"]
    assert sure(work, "log", "--json") == head
    sure(work, "fsck")


def projection(root: Path) -> float:
    """What rounding kept of the change, computed anew."""
    from safetensors.numpy import load_file

    base, master, rounded = (
        {
            name: of.astype(np.float64)
            for name, of in load_file(root / f / "model.safetensors").items()
        }
        for f in ("base", "master", "rounded")
    )
    exact = np.concatenate([(master[name] - base[name]).ravel() for name in base])
    kept = np.concatenate([(rounded[name] - base[name]).ravel() for name in base])
    return float(exact @ kept / (exact @ exact))


def test_a_target_goes_to_the_dtype_of_the_base_and_back(work: Path) -> None:
    sure(work, "checkout", "main", "--to", "../out")
    assert weights(work.parent / "out") == weights(work.parent / "master")
    sure(work, "checkout", "main", "--dtype", "base")
    assert weights(work.parent / "out") == weights(work.parent / "rounded")
    sure(work, "checkout", "main")
    assert weights(work.parent / "out") == weights(work.parent / "master")


def test_the_rule_is_said(work: Path) -> None:
    exact = sure(work, "checkout", "base + master", "--to", "../exact")
    assert "dtype: F32, as it was committed; the base's is F16" in exact
    computed = sure(work, "checkout", "base + 0.5*master", "--to", "../computed")
    assert "dtype: F16, the base's, as all that is computed; F32 went into it" in computed
    rounded = sure(work, "checkout", "main", "--to", "../out", "--dtype", "base")
    assert "% of the change; a larger scale makes up for some of it" in rounded
    assert "dtype:" not in sure(work, "checkout", "base", "--to", "../plain")


def test_only_the_dtype_of_the_base(work: Path) -> None:
    done = pvc(work, "checkout", "main", "--to", "../out", "--dtype", "bf16")
    assert done.code == 19
    assert "the base's floats are F16" in done.err
    assert not (work.parent / "out").exists()


def test_the_warning_says_what_helps(work: Path) -> None:
    done = pvc(work, "commit", "half", "--from", "../rounded", "--onto", "base", "--aside")
    assert done.code == 0
    for said in ("rounded away", "base + 2*half", "times as much", "`pvc checkout --dtype base`"):
        assert said in done.err
