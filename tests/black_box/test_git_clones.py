"""Clones, which have the history of a repository and not its store."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.black_box.pvc_process import drawn, pvc, save, sure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    root = tmp_path.resolve()
    base = drawn(0)
    save(root / "base", base)
    save(root / "m1", drawn(1, base))
    sure(root, "init", "work", "--base", "base")
    sure(root / "work", "commit", "a", "--from", root / "m1")
    sure(root / "work", "scale", "a", "0.5")
    return root / "work"


def git(where: Path, *words: str | Path) -> None:
    subprocess.run(["git", *map(str, words)], cwd=where, check=True, capture_output=True)


def test_history_is_read_without_weights(work: Path) -> None:
    git(work.parent, "clone", "-q", work, "clone")
    clone = work.parent / "clone"
    for words in (["log"], ["log", "a"], ["show", "a"], ["show"], ["status"]):
        done = pvc(clone, *words)
        assert done.code == 0, done
        assert "has no store" in done.err
        assert f"{clone}/.git/pvc" in done.err
    assert sure(clone, "log").splitlines()[1:] == sure(work, "log").splitlines()[1:]
    assert json.loads(sure(clone, "status", "--json"))["store"] is False
    assert json.loads(sure(work, "status", "--json"))["store"] is True
    assert not (clone / ".git" / "pvc").exists()


@pytest.mark.parametrize(
    "words", [("scale", "a", "1"), ("checkout", "HEAD", "--to", "out"), ("fsck",)]
)
def test_what_needs_weights_says_where_they_belong(work: Path, words: tuple[str, ...]) -> None:
    git(work.parent, "clone", "-q", work, "clone")
    clone = work.parent / "clone"
    done = pvc(clone, *words)
    assert done.code == 10
    assert f"{clone}/.git/pvc" in done.err
    source = work / ".git" / "pvc"
    subprocess.run(["cp", "-a", str(source), str(clone / ".git" / "pvc")], check=True)
    assert pvc(clone, *words).code == 0


def test_a_submodule(work: Path) -> None:
    root = work.parent
    git(root, "init", "-q", "outer")
    allowed = ("-c", "protocol.file.allow=always")
    git(root / "outer", *allowed, "submodule", "add", work, "model")
    inner = root / "outer" / "model"
    done = pvc(inner, "checkout", "HEAD", "--to", root / "out")
    place = root / "outer" / ".git" / "modules" / "model" / "pvc"
    assert str(place) in done.err
    subprocess.run(["cp", "-a", str(work / ".git" / "pvc"), str(place)], check=True)
    sure(inner, "checkout", "HEAD", "--to", root / "out")
    sure(inner, "status")
