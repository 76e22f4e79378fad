"""Arguments and text files that mean something else than they seem to."""

from __future__ import annotations

import json
import subprocess
import sys
import time
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
    for number in (1, 2):
        save(root / f"m{number}", drawn(number, base))
    sure(root, "init", "work", "--base", "base")
    sure(root / "work", "commit", "a", "--from", root / "m1")
    sure(root / "work", "commit", "b", "--from", root / "m2", "--onto", "base")
    return root / "work"


def git(work: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=work, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize(
    "name", ["HEAD", "FETCH_HEAD", "x\u202ey", "x\u200by", "x\x85y", "x\u2066"]
)
@pytest.mark.parametrize("words", [("tag",), ("branch",), ("switch", "-c")])
def test_names_of_branches_and_tags(work: Path, words: tuple[str, ...], name: str) -> None:
    done = pvc(work, *words, name)
    assert done.code == 14
    assert "Traceback" not in done.err
    assert name.isascii() or name not in done.err
    assert git(work, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags") == (
        "refs/heads/main\n"
    )


@pytest.mark.parametrize(
    "number", ["1_0", "\u0661", "nan", "inf", "1e999", "1e-400", "0x10", " 1", ""]
)
def test_what_is_no_number(work: Path, number: str) -> None:
    before = git(work, "rev-parse", "HEAD")
    for words in (
        ("scale", "a", number),
        ("merge", "--ties", f"--density={number}"),
        ("log", "-n", number),
        ("fsck", "--threads", number),
    ):
        done = pvc(work, *words)
        assert done.code == 2, (words, done)
    assert git(work, "rev-parse", "HEAD") == before


def test_numbers(work: Path) -> None:
    for number in ("-0.5", "+2", "1e-3", ".25", "3."):
        sure(work, "scale", "a", number)


def test_two_methods_at_once(work: Path) -> None:
    for words in (
        ("--ties", "--sum"), ("--sum", "--ties"), ("--ties", "--method", "sum"),
        ("--ours", "--theirs"),
    ):  # fmt: skip
        done = pvc(work, "merge", *words, "a", "b")
        assert done.code == 2
        assert "cannot be combined" in done.err
    sure(work, "merge", "--ties", "--method", "ties", "a", "b")


def test_a_target_with_line_ends_in_its_name(work: Path) -> None:
    """What git ignores is that directory, and no other."""
    sure(work, "checkout", "HEAD", "--to", work / "out\n*\n#x")
    (work / "vectors" / "mine.txt").write_text("mine")
    (work / "notes.txt").write_text("mine")
    status = git(work, "status", "--porcelain", "--untracked-files=all")
    assert status.split("\n")[:-1] == ["?? notes.txt", "?? vectors/mine.txt"]
    assert "*" not in (work / ".git" / "info" / "exclude").read_text().splitlines()


def test_a_personality_of_a_million_terms(work: Path) -> None:
    term = '[[term]]\nvector = "a"\nscale = 0.5\n\n'
    (work / "personality.toml").write_text(term * 1_000_000)
    began = time.monotonic()
    done = pvc(work, "commit", "-m", "many")
    assert (done.code, "Traceback" in done.err) == (19, False)
    assert "characters" in done.err
    git(work, "commit", "-q", "-am", "many")
    for words in (("log",), ("status",), ("show",), ("scale", "a", "2"), ("fsck",)):
        done = pvc(work, *words)
        assert "Traceback" not in done.err
    assert time.monotonic() - began < 60  # parsing it once takes longer


def test_fsck_names_cycles(work: Path) -> None:
    sure(work, "scale", "a", "2", "-o", "x")
    sure(work, "scale", "x", "2", "-o", "y")
    file = work / "vectors" / "x.json"
    file.write_text(file.read_text().replace('"a"', '"y"'))
    git(work, "commit", "-q", "-am", "a cycle")
    done = pvc(work, "fsck")
    assert done.code == 1
    assert "x -> y -> x" in done.out


def test_a_status_of_many_vectors_is_short(work: Path) -> None:
    text = (work / "vectors" / "a.json").read_text()
    for number in range(200):
        (work / "vectors" / f"v{number}.json").write_text(text)
    git(work, "add", "vectors")
    git(work, "commit", "-q", "-m", "many")
    assert max(map(len, sure(work, "status").splitlines())) < 300


def test_a_name_with_a_dash(work: Path) -> None:
    done = pvc(work, "commit", "new-style", "--from", work.parent / "m1")
    assert done.code == 14
    assert "Use new_style." in done.err
    assert "Use" not in pvc(work, "commit", "1", "--from", work.parent / "m1").err


def test_the_name_of_a_model_on_the_hub(work: Path) -> None:
    done = pvc(work.parent, "init", "fresh", "--base", "org/name-8B")
    assert done.code == 19
    assert "hf download org/name-8B --local-dir name-8B" in done.err
    assert "hf download" not in pvc(work.parent, "init", "fresh", "--base", "bsae").err
    assert not (work.parent / "fresh").exists()


def test_targets_are_named_by_what_stays_true(work: Path) -> None:
    out = work.parent / "out"
    short = git(work, "rev-parse", "HEAD~1").strip()[:10]
    for typed, label in (
        ("HEAD", "main"), ("main", "main"), ("main~1", short),
        ("a", "a"), ("a@main~1", f"a@{short}"), ("base + 2*a", "base + 2*a"), ("base", "base"),
    ):  # fmt: skip
        sure(work, "checkout", typed, "--to", out)
        (found,) = json.loads(sure(work, "status", "--json"))["targets"]
        assert found["revision"] == label, typed
    sure(work, "tag", "v1", "main~1")
    sure(work, "checkout", "main~1", "--to", out)
    (found,) = json.loads(sure(work, "status", "--json"))["targets"]
    assert found["revision"] == "v1"


def test_a_branch_that_moved_on_is_told_from_what_it_was(work: Path) -> None:
    sure(work, "checkout", "main", "--to", work.parent / "out")
    sure(work, "scale", "a", "0.5")
    (found,) = json.loads(sure(work, "status", "--json"))["targets"]
    assert found["revision"] == "main"  # what main is now was not computed yet
    sure(work, "build", "main")
    assert "out (main as it was, " in sure(work, "status")
    sure(work, "checkout", "main", "--to", work.parent / "out")
    assert "out (main, " in sure(work, "status")


def test_a_lock_is_waited_for(work: Path) -> None:
    """A hook of a commit holds it for as long as it sleeps."""
    hook = work / ".git" / "hooks" / "post-commit"
    hook.write_text("#!/bin/sh\nsleep 4\n")
    hook.chmod(0o755)
    words = [sys.executable, "-m", "pvc", "scale", "a", "0.125"]
    with subprocess.Popen(words, cwd=work) as holder:
        time.sleep(1.5)
        done = pvc(work, "--wait", "0", "tag", "t1")
        assert done.code == 11
        assert f"process {holder.pid} (pvc scale a 0.125)" in done.err
        done = pvc(work, "--wait", "30", "tag", "t2")
        assert done.code == 0
        assert "waiting: The lock " in done.err
        assert f"process {holder.pid} (pvc scale a 0.125)" in done.err
    assert holder.returncode == 0
