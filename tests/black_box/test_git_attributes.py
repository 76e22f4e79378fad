"""Repositories whose `.gitattributes` reach pvc's own files, as those of model hubs do."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.black_box.pvc_process import drawn, save, sure

if TYPE_CHECKING:
    from pathlib import Path

ATTRIBUTES = {
    "a filter of hubs": "*.json filter=lfs diff=lfs merge=lfs -text",
    "everything": "* filter=lfs diff=lfs merge=lfs",
    "below a folder": "vectors/** filter=lfs",
    "a filter that is needed and fails": "*.json filter=broken\n*.toml filter=broken",
    "an encoding": "*.json working-tree-encoding=UTF-16\n*.toml working-tree-encoding=UTF-16",
    "line ends": "* text eol=crlf",
    "keywords": "* ident",
    "a macro": "[attr]big filter=lfs\n* big",
    "merged by union": "* merge=union",
    "binary": "* binary",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base and two results; git has the two filters."""
    root = tmp_path.resolve()
    (root / "gitconfig").write_text(
        '[user]\n\tname = Somebody\n\temail = one@example.org\n[protocol "file"]\n'
        "\tallow = always\n"
        '[filter "lfs"]\n\tclean = sha1sum\n\tsmudge = cat\n\trequired = true\n'
        '[filter "broken"]\n\tclean = false\n\tsmudge = false\n\trequired = true\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(root / "gitconfig"))
    base = drawn(0)
    save(root / "base", base)
    for number in (1, 2):
        save(root / f"m{number}", drawn(number, base))
    return root


def git(work: Path, *words: str | Path) -> str:
    """Run a git command that succeeds; its output."""
    done = subprocess.run(
        ["git", *map(str, words)], cwd=work, check=False, env=dict(os.environ),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"git {words} ended with {done.returncode}: {done.stderr}"
    return done.stdout


def own(work: Path) -> dict[str, bytes]:
    """pvc's own files, by path."""
    found = [work / "pvc.toml", work / "personality.toml", *(work / "vectors").glob("*.json")]
    return {path.relative_to(work).as_posix(): path.read_bytes() for path in found}


def clean(work: Path) -> None:
    """Files, index and HEAD are the same bytes, also after git looked at each file anew."""
    for path, data in own(work).items():
        assert git(work, "cat-file", "blob", f"HEAD:{path}").encode() == data
        (work / path).touch()
    assert git(work, "status", "--porcelain", "--untracked-files=no") == ""


def session(root: Path, work: Path) -> None:
    """What people do with vectors, branches and edits."""
    sure(work, "commit", "a", "--from", root / "m1")
    sure(work, "scale", "a", "0.5")
    text = (work / "personality.toml").read_text()
    (work / "personality.toml").write_text(text.replace("0.5", "0.25"))
    assert "personality.toml" in git(work, "status", "--porcelain")
    sure(work, "commit", "-m", "a quarter")
    sure(work, "branch", "other")
    sure(work, "commit", "b", "--from", root / "m2", "--onto", "base")
    sure(work, "checkout", "other")
    sure(work, "scale", "a", "0.75")
    sure(work, "merge", "main")
    sure(work, "checkout", "main")
    sure(work, "mv", "b", "c")
    sure(work, "revert", "HEAD")
    clean(work)


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_a_repository_with_attributes(root: Path, kind: str) -> None:
    work = root / "hub"
    git(root, "init", "-q", "-b", "main", "hub")
    (work / ".gitattributes").write_text(ATTRIBUTES[kind] + "\n")
    git(work, "add", ".gitattributes")
    git(work, "commit", "-q", "-m", "attributes")
    sure(work, "init", "--base", root / "base")
    clean(work)
    session(root, work)


@pytest.mark.parametrize("kind", ["a filter of hubs", "an encoding", "line ends"])
def test_attributes_that_come_later(root: Path, kind: str) -> None:
    sure(root, "init", "work", "--base", "base")
    work = root / "work"
    (work / ".gitattributes").write_text(ATTRIBUTES[kind] + "\n")
    session(root, work)


@pytest.mark.parametrize("kind", ["an encoding", "line ends", "keywords", "a filter of hubs"])
def test_a_clone(root: Path, kind: str) -> None:
    """git has written its files as the attributes say, before pvc comes."""
    sure(root, "init", "work", "--base", "base")
    work = root / "work"
    sure(work, "commit", "a", "--from", root / "m1")
    (work / ".gitattributes").write_text(ATTRIBUTES[kind] + "\n")
    git(work, "add", ".gitattributes")
    git(work, "commit", "-q", "-m", "attributes")
    git(root, "clone", "-q", work, "clone")
    (root / "clone" / ".git" / "pvc").symlink_to(work / ".git" / "pvc")
    sure(root / "clone", "scale", "a", "0.5")
    clean(root / "clone")
    assert own(root / "clone")["vectors/a.json"] == own(work)["vectors/a.json"]


def test_a_filter_that_made_a_file_of_something_else_is_left_alone(root: Path) -> None:
    """What git keeps of it need not be all there is."""
    git(root, "init", "-q", "-b", "main", "hub")
    work = root / "hub"
    sure(root, "init", "hub", "--base", "base")
    (work / ".git" / "info" / "attributes").unlink()
    (work / ".gitattributes").write_text("* filter=lfs\n")
    (work / "behaviours").mkdir()
    mine = work / "behaviours" / "mine.toml"
    mine.write_text("text = 'mine'\n")
    git(work, "add", "behaviours")
    git(work, "commit", "-q", "-m", "by git")
    sure(work, "branch", "other")
    assert mine.read_text() == "text = 'mine'\n"
