"""pvc in what git starts: hooks, aliases, programs; of other repositories, and of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.black_box.pvc_process import Done, drawn, save, sure

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = subprocess.run(
    ["git", "rev-parse", "--local-env-vars"], check=True, capture_output=True, text=True
).stdout.split()
CONFIGURATION = {"GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"}
UNLISTED = (
    "GIT_NAMESPACE", "GIT_QUARANTINE_PATH", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
)  # fmt: skip

PROGRAM = """
import pvc, sys
from pathlib import Path
with pvc.open(sys.argv[1]) as repository:
    repository.commit("b", Path(sys.argv[2]), onto="base", aside=True)
    repository.checkout("b", Path(sys.argv[3]))
    print(repository.status().edited)
"""


class Scene(NamedTuple):
    """A repository of pvc's with the vector a, another repository, and two results."""

    root: Path
    work: Path
    other: Path


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    root = tmp_path.resolve()
    (root / "gitconfig").write_text("[user]\n\tname = Somebody\n\temail = one@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(root / "gitconfig"))
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.delenv(name, raising=False)
    base = drawn(0)
    save(root / "base", base)
    for number in (1, 2):
        save(root / f"m{number}", drawn(number, base))
    sure(root, "init", "work", "--base", "base")
    sure(root / "work", "commit", "a", "--from", root / "m1")
    other = root / "other"
    git(root, "init", "-q", "-b", "main", "other")
    (other / "train.py").write_text("1")
    git(other, "add", ".")
    git(other, "commit", "-q", "-m", "1")
    return Scene(root, root / "work", other)


def git(work: Path, *words: str | Path) -> str:
    """Run a git command that succeeds; its output and what its hooks said."""
    done = subprocess.run(
        ["git", *map(str, words)], cwd=work, check=False, env=dict(os.environ),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"git {words} ended with {done.returncode}: {done.stderr}"
    return done.stdout + done.stderr


def hook(work: Path, name: str, *commands: str) -> None:
    """Let git run commands of pvc; it is told of those that fail."""
    lines = [f"{sys.executable} -m pvc {words} || echo FAILED: {words}" for words in commands]
    file = work / ".git" / "hooks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(["#!/bin/sh", *lines, "exit 0", ""]))
    file.chmod(0o755)


def whole(work: Path) -> None:
    """Nothing is staged, edited, or missing."""
    assert git(work, "status", "--porcelain", "--untracked-files=no") == ""
    git(work, "fsck", "--strict")


@pytest.mark.parametrize(
    "how", [("-am", "2"), ("-m", "2", "train.py"), ("-m", "2", "--amend", "-a")]
)
def test_a_hook_of_another_repository(made: Scene, how: tuple[str, ...]) -> None:
    commands = (
        f"-C {made.work} commit b --from {made.root}/m2 --onto base --aside -q",
        f"-C {made.work} scale a 0.5 -q",
        f"-C {made.work} checkout b --to {made.root}/out -q",
        f"-C {made.work} fsck -q",
        f"-C {made.work} status -q",
        f"init -q {made.root}/fresh --base {made.root}/base",
    )
    hook(made.other, "pre-commit", *commands)
    (made.other / "train.py").write_text("2")
    said = git(made.other, "commit", "-q", *how)
    assert "FAILED" not in said, said
    assert git(made.other, "ls-tree", "-r", "--name-only", "HEAD").split() == ["train.py"]
    assert git(made.work, "ls-tree", "--name-only", "HEAD:vectors").split() == ["a.json", "b.json"]
    assert git(made.root / "fresh", "log", "--format=%s") == "Start from base\n"
    for work in (made.other, made.work, made.root / "fresh"):
        whole(work)


@pytest.mark.parametrize("name", ["post-commit", "pre-commit"])
def test_a_hook_in_a_linked_working_tree(made: Scene, name: str) -> None:
    """There git says where its directory is, too."""
    hook(
        made.other,
        name,
        f"-C {made.work} commit b --from {made.root}/m2 --onto base --aside -q",
        f"init -q {made.root}/fresh --base {made.root}/base",
    )
    git(made.other, "worktree", "add", "-q", made.root / "linked")
    (made.root / "linked" / "train.py").write_text("2")
    said = git(made.root / "linked", "commit", "-q", "-am", "2")
    assert "FAILED" not in said, said
    for work in (made.other, made.root / "linked", made.work, made.root / "fresh"):
        whole(work)


def test_a_hook_of_a_push_elsewhere(made: Scene) -> None:
    """What comes in lies in a quarantine while `pre-receive` runs."""
    git(made.root, "clone", "-q", "--bare", made.other, "bare")
    hooked = made.root / "bare" / "hooks" / "pre-receive"
    hooked.write_text(
        f"#!/bin/sh\n{sys.executable} -m pvc -C {made.work} scale a 0.5 -q || echo FAILED\n"
    )
    hooked.chmod(0o755)
    (made.other / "train.py").write_text("2")
    git(made.other, "commit", "-q", "-am", "2")
    said = git(made.other, "push", "-q", made.root / "bare", "main")
    assert "FAILED" not in said, said
    assert git(made.work, "log", "-1", "--format=%s") == "a at 0.5\n"
    whole(made.work)


def test_hooks_of_the_repository_itself(made: Scene) -> None:
    hook(made.work, "post-commit", "status -q", "tag at-$(git rev-parse --short HEAD) -q")
    sure(made.work, "scale", "a", "0.5")
    (made.work / "notes.txt").write_text("mine")
    git(made.work, "add", "notes.txt")
    said = git(made.work, "commit", "-q", "-m", "notes")
    assert "FAILED" not in said, said
    hook(made.work, "pre-push", "log -q", "fsck -q", "status -q")
    git(made.root, "init", "-q", "--bare", "remote")
    said = git(made.work, "push", "-q", made.root / "remote", "main")
    assert "FAILED" not in said, said
    whole(made.work)


def test_a_commit_in_a_hook_before_a_commit_of_the_same_repository(made: Scene) -> None:
    """It is refused while git holds its index, and changes neither commit."""
    hook(made.work, "pre-commit", f"commit b --from {made.root}/m2 --onto base --aside -q")
    (made.work / "notes.txt").write_text("mine")
    git(made.work, "add", "notes.txt")
    said = git(made.work, "commit", "-q", "-a", "-m", "notes")
    assert "FAILED" in said
    assert "index.lock" in said
    assert git(made.work, "log", "-1", "--format=%s", "--name-only").split() == [
        "notes",
        "notes.txt",
    ]
    whole(made.work)


def test_an_alias_of_git(made: Scene) -> None:
    for work in (made.work, made.other):
        git(work, "config", "alias.p", f"!{sys.executable} -m pvc")
        (work / "below").mkdir()
    assert "scale" not in git(made.work / "below", "p", "status")
    git(made.work / "below", "p", "scale", "a", "0.5")
    git(
        made.other / "below", "-c", "core.quotePath=off", "p", "-C", made.work, "scale", "a", "0.25"
    )
    whole(made.work)


@pytest.mark.parametrize("name", [*sorted({*LOCAL} - CONFIGURATION), *UNLISTED])
def test_no_variable_about_another_repository_counts(made: Scene, name: str) -> None:
    value = {
        "GIT_DIR": made.other / ".git",
        "GIT_COMMON_DIR": made.other / ".git",
        "GIT_INDEX_FILE": made.other / ".git" / "index",
        "GIT_WORK_TREE": made.other,
        "GIT_OBJECT_DIRECTORY": made.other / ".git" / "objects",
        "GIT_NAMESPACE": "elsewhere",
        "GIT_QUARANTINE_PATH": made.other / ".git" / "objects" / "incoming",
    }.get(name, "1")
    program = [sys.executable, "-c", PROGRAM, made.work, made.root / "m2", made.root / "out"]
    done = subprocess.run(
        list(map(str, program)), cwd=made.other, check=False,
        env={**os.environ, name: str(value)}, capture_output=True, text=True,
    )  # fmt: skip
    assert Done(done.returncode, done.stdout, done.stderr) == Done(0, "()\n", "")
    assert git(made.work, "ls-tree", "--name-only", "HEAD:vectors").split() == ["a.json", "b.json"]
    whole(made.work)
    whole(made.other)


def test_who_commits_is_still_said_by_the_environment(made: Scene) -> None:
    said = {"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org"}
    git(made.other, "config", "alias.p", f"!{sys.executable} -m pvc")
    subprocess.run(
        ["git", "-c", "user.name=Bob", "p", "-C", str(made.work), "scale", "a", "0.5"],
        cwd=made.other, check=True, env={**os.environ, **said}, capture_output=True,
    )  # fmt: skip
    assert git(made.work, "log", "-1", "--format=%an %cn") == "Ann Bob\n"
