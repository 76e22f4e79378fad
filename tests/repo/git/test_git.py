"""Plain git on a repository of pvc's: merge, rebase, stash, worktrees, clean, clones, hooks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands.branches import switch
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_edits import commit_edits
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.log import log
from pvc.repo.commands.remove import remove
from pvc.repo.commands.status import status
from pvc.repo.git import Git, GitError, NoRepositoryError, UnfinishedError
from pvc.repo.history.notes import read_note
from pvc.repo.repository import EditedError, NoStoreError, Repository
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo.conftest import Commit
    from tests.support.models import Model


@pytest.fixture
def other(base_model: Model, tmp_path: Path) -> Path:
    return models.save(tmp_path / "other", models.tuned(base_model, 8))


def healthy(repository: Repository) -> None:
    """Everything that history names is there, and the next command finds nothing odd."""
    assert fsck(repository, CREW).findings == ()
    assert repository.edited() == ()
    assert not status(repository).interrupted


def test_merge_of_branches_that_add_vectors(
    made: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    switch(made, "side", create=True)
    do_commit("theirs", models.tuned(base_model, 8), aside=True, onto="base")
    switch(made, "main", create=False)
    do_commit("ours", models.tuned(base_model, 9), aside=True, onto="base")
    git(made.root, "merge", "-q", "-m", "merge", "side")
    assert made.head().names == ("listening", "ours", "quiet", "suggesting", "theirs")
    assert str(made.head().personality) == "base + listening + suggesting"
    for name in ("ours", "theirs"):
        checkout(made, name, DirectoryTarget(tmp_path / name), keep_head=True, crew=CREW)
        assert models.contents(tmp_path / name) == models.contents(tmp_path / f"out-{name}")
    checkout(made, "HEAD", DirectoryTarget(tmp_path / "served"), keep_head=False, crew=CREW)
    healthy(made)
    merge = next(log(made, None, 1))  # the first parent's view of it
    assert [(change.name, change.action) for change in merge.vectors] == [("theirs", "added")]


def test_merge_conflicts_are_gits(
    made: Repository, base_model: Model, do_commit: Commit, first: Model
) -> None:
    switch(made, "side", create=True)
    do_commit("third", models.tuned(first, 8), onto="HEAD")
    switch(made, "main", create=False)
    do_commit("fourth", models.tuned(first, 9), onto="HEAD")
    with pytest.raises(subprocess.CalledProcessError):
        git(made.root, "merge", "-q", "-m", "merge", "side")
    with pytest.raises(UnfinishedError) as caught:
        do_commit("fifth", models.tuned(base_model, 10), aside=True)
    assert caught.value.operation == "merge"
    assert status(made).unfinished == "merge"
    git(made.root, "checkout", "-q", "--ours", "personality.toml")
    git(made.root, "add", "personality.toml")
    git(made.root, "commit", "-q", "-m", "merge")
    assert made.head().names == ("fourth", "listening", "quiet", "suggesting", "third")
    healthy(made)


def test_rebase(made: Repository, base_model: Model, do_commit: Commit) -> None:
    switch(made, "side", create=True)
    side = do_commit("theirs", models.tuned(base_model, 8), aside=True, onto="base")
    switch(made, "main", create=False)
    remove(made, "quiet")
    git(made.root, "rebase", "-q", "main", "side")
    assert made.git.branch() == "side"
    assert made.git.head() != side.commit
    assert made.head().names == ("listening", "suggesting", "theirs")
    assert made.head().vector("theirs") == side.vector
    healthy(made)


def test_stash(made: Repository, other: Path) -> None:
    file = made.root / "personality.toml"
    edited = file.read_text().replace('vector = "suggesting"', 'vector = "suggesting" # mine')
    file.write_text(edited)
    (made.root / "behaviours").mkdir()
    (made.root / "behaviours" / "quiet.toml").write_text("# mine\n")
    git(made.root, "stash", "-q", "--include-untracked")
    commit(made, Wish("aside", aside=True, onto="base"), CheckpointSource(other), CREW)
    git(made.root, "stash", "pop", "-q")
    assert file.read_text() == edited
    with pytest.raises(EditedError):
        commit(made, Wish("again", aside=True, onto="base"), CheckpointSource(other), CREW)
    assert commit_edits(made, "mine").paths == ("behaviours/quiet.toml", "personality.toml")
    healthy(made)


def test_worktrees_share_the_store(
    made: Repository, other: Path, tmp_path: Path, sources: dict[str, Path]
) -> None:
    second = tmp_path / "second"
    git(made.root, "worktree", "add", "-q", "-b", "side", str(second), "v1")
    with Repository.open(second) as beside:
        assert beside.folder == made.folder
        assert str(beside.head().personality) == "base + listening"
        commit(beside, Wish("third", aside=True, onto="base"), CheckpointSource(other), CREW)
        checkout(beside, "HEAD", DirectoryTarget(second / "served"), keep_head=False, crew=CREW)
        assert models.contents(second / "served") == models.contents(sources["listening"])
        assert git(second, "status", "--porcelain") == ""
        healthy(beside)
    checkout(made, "third@side", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    assert models.contents(tmp_path / "out") == models.contents(other)
    assert made.head().names == ("listening", "quiet", "suggesting")
    with pytest.raises(GitError, match="side"):  # it is checked out beside
        checkout(made, "side", DirectoryTarget(tmp_path / "out"), keep_head=False, crew=CREW)
    assert status(made).targets[0].state == "clean"
    assert models.contents(tmp_path / "out") == models.contents(other)
    healthy(made)


def test_clean_leaves_the_store(made: Repository, sources: dict[str, Path]) -> None:
    served = made.root / "served"
    checkout(made, "HEAD", DirectoryTarget(served), keep_head=False, crew=CREW)
    git(made.root, "clean", "-q", "-fdx")
    assert not served.exists()
    checkout(made, "HEAD", DirectoryTarget(), keep_head=False, crew=CREW)
    assert models.contents(served) == models.contents(sources["suggesting"])
    git(made.root, "gc", "-q", "--prune=now")
    made.close()
    with Repository.open(made.root) as again:
        healthy(again)


def test_amend(made: Repository, other: Path) -> None:
    done = commit(made, Wish("third", aside=True, onto="base"), CheckpointSource(other), CREW)
    git(made.root, "commit", "-q", "--amend", "-m", "better words")
    assert made.git.head() != done.commit
    assert made.head().vector("third") == done.vector
    assert next(log(made, None, 1)).entry.subject == "better words"
    healthy(made)


def test_cherry_pick(made: Repository, other: Path) -> None:
    switch(made, "side", create=True, start="v1")
    done = commit(made, Wish("third", aside=True, onto="base"), CheckpointSource(other), CREW)
    switch(made, "main", create=False)
    git(made.root, "cherry-pick", "side")
    assert made.head().vector("third") == done.vector
    healthy(made)


def test_reset_and_reflog(made: Repository, tmp_path: Path) -> None:
    """A commit that only the reflog knows can be had back."""
    git(made.root, "reset", "-q", "--hard", "v1")
    assert made.head().names == ("listening",)
    healthy(made)
    done = checkout(made, "main@{1}", DirectoryTarget(tmp_path / "out"), keep_head=False, crew=CREW)
    assert str(made.head().personality) == "base + listening + suggesting"
    assert made.git.branch() is None
    assert done.head_moved


def test_a_clone_without_the_store(made: Repository, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(made.root), "clone")
    with pytest.raises(NoStoreError) as caught:
        Repository.open(tmp_path / "clone")
    assert caught.value.folder == tmp_path / "clone" / ".git" / "pvc"
    with Repository.open(tmp_path / "clone", need_store=False) as clone:
        assert [type(notice) for notice in clone.notices] == [NoStoreError]
        assert clone.head().names == made.head().names
    with pytest.raises(NoRepositoryError):
        Repository.open(tmp_path)


def test_a_command_within_gits_own_directory(made: Repository) -> None:
    for directory in (made.git.directory, made.git.directory / "objects", made.folder):
        with Repository.open(directory) as found:
            assert (found.root, found.folder) == (made.root, made.folder)
            assert found.git.directory == made.git.directory
            assert found.head().commit == made.head().commit


@pytest.mark.parametrize("name", ["two\nlines", "a\u2028b", "a\x1cb", "a\rb"])
def test_separators_of_lines_in_the_paths_of_worktrees(tmp_path: Path, name: str) -> None:
    main = tmp_path / name
    main.mkdir()
    git(main, "init", "-q")
    git(main, "commit", "-q", "--allow-empty", "-m", "first")
    git(main, "worktree", "add", "-q", "-b", "side", str(tmp_path / f"side {name}"))
    with contextlib.closing(Git(tmp_path / f"side {name}")) as found:
        assert found.root == tmp_path / f"side {name}"
        assert found.common == main / ".git"
        assert found.directory.parent == main / ".git" / "worktrees"


def test_no_working_tree_and_no_git(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(made.root), "bare")
    with pytest.raises(NoRepositoryError, match="bare"):
        Repository.open(tmp_path / "bare")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="git is not installed"):
        made.edited()


def test_a_git_that_is_killed_has_not_said_no(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    for ask in (made.git.head, made.git.branch, lambda: made.git.note("HEAD"), made.head):
        with pytest.raises(GitError) as caught:
            ask()
        assert caught.value.status == -signal.SIGKILL


def test_subdirectories_find_the_repository(made: Repository) -> None:
    (made.root / "a" / "b").mkdir(parents=True)
    with Repository.open(made.root / "a" / "b") as found:
        assert found.root == made.root


# What keeps git from committing


def hook(repository: Repository, name: str, script: str) -> None:
    file = repository.root / ".git" / "hooks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def refused(repository: Repository, other: Path, said: str) -> None:
    """Git does not commit, and nothing has changed; afterwards it does."""
    root, head = repository.root, repository.git.head()
    before = git(root, "status", "--porcelain"), (root / "personality.toml").read_bytes()
    with pytest.raises(GitError, match=said) as caught:
        commit(repository, Wish("third", aside=True, onto="base"), CheckpointSource(other), CREW)
    assert caught.value.detail
    assert repository.git.head() == head
    assert (git(root, "status", "--porcelain"), (root / "personality.toml").read_bytes()) == before
    assert not status(repository).interrupted
    assert fsck(repository, CREW).findings == ()


@pytest.mark.parametrize("name", ["pre-commit", "commit-msg", "prepare-commit-msg"])
def test_hooks_are_heard(made: Repository, other: Path, name: str) -> None:
    (made.root / "notes.txt").write_text("mine")
    git(made.root, "add", "notes.txt")
    hook(made, name, "echo the house rules forbid it; exit 1")
    refused(made, other, "the house rules forbid it")
    hook(made, name, "exit 0")
    commit(made, Wish("third", aside=True, onto="base"), CheckpointSource(other), CREW)
    assert git(made.root, "status", "--porcelain") == "A  notes.txt\n"


def test_hooks_see_what_is_committed(made: Repository, other: Path, tmp_path: Path) -> None:
    hook(made, "pre-commit", f"git diff --cached --name-only > {tmp_path}/seen")
    commit(made, Wish("third", aside=True, onto="base"), CheckpointSource(other), CREW)
    assert (tmp_path / "seen").read_text() == "vectors/third.json\n"


def test_nobody_is_named(
    made: Repository, other: Path, monkeypatch: pytest.MonkeyPatch, git_config: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        git(made.root, "config", "user.useConfigOnly", "true")
        refused(made, other, "user")
    git(made.root, "config", "--unset", "user.useConfigOnly")
    commit(made, Wish("third", aside=True, onto="base"), CheckpointSource(other), CREW)


def test_a_signer_that_fails(made: Repository, other: Path) -> None:
    git(made.root, "config", "commit.gpgSign", "true")
    git(made.root, "config", "gpg.program", "false")
    refused(made, other, "sign")


def test_notes_are_not_needed(made: Repository, other: Path) -> None:
    """Notes cannot be written: the commit stands all the same."""
    in_the_way = made.root / ".git" / "refs" / "notes" / "pvc.lock"
    in_the_way.mkdir()
    done = commit(made, Wish("third", aside=True, onto="base"), CheckpointSource(other), CREW)
    assert made.git.head() == done.commit
    assert read_note(made, done.commit) is None
    in_the_way.rmdir()
    healthy(made)


def test_a_git_killed_over_its_notes(made: Repository, other: Path) -> None:
    """Its lock does not keep later commits from theirs."""
    lock = made.root / ".git" / "refs" / "notes" / "pvc.lock"
    lock.touch()
    done = commit(made, Wish("third", onto="HEAD"), CheckpointSource(other), CREW)
    assert read_note(made, done.commit) is not None
    assert not lock.exists()
    healthy(made)


# Configurations of git


# None of them is to show; the first ones concern line ends, and exclude each other.
CONFIGURATIONS = {
    "windows": {"core.autocrlf": "true"},
    "windows, one way": {"core.autocrlf": "input", "core.safecrlf": "true"},
    "windows, by attributes": {"core.eol": "crlf"},
    "all else": {
        "branch.autoSetupMerge": "always",
        "color.ui": "always",
        "commit.cleanup": "scissors",
        "commit.status": "false",
        "commit.verbose": "true",
        "core.commentChar": "b",
        "core.fileMode": "false",
        "core.quotePath": "true",
        "core.untrackedCache": "true",
        "diff.noprefix": "true",
        "diff.relative": "true",
        "diff.renames": "copies",
        "feature.manyFiles": "true",
        "format.pretty": "oneline",
        "i18n.logOutputEncoding": "ISO-8859-1",
        "log.decorate": "full",
        "log.follow": "true",
        "log.showSignature": "true",
        "notes.displayRef": "refs/notes/pvc",
        "status.branch": "true",
        "status.renames": "copies",
        "status.showUntrackedFiles": "no",
        "submodule.recurse": "true",
    },
}


@pytest.mark.parametrize("which", CONFIGURATIONS)
def test_a_users_configuration_changes_nothing(
    made: Repository, first: Model, tmp_path: Path, which: str
) -> None:
    for key, value in CONFIGURATIONS[which].items():
        git(made.root, "config", key, value)
    if which == "windows, by attributes":
        (made.root / ".git" / "info" / "attributes").write_text("* text=auto\n")
    for name in ("personality.toml", "pvc.toml"):  # as git writes them under this configuration
        (made.root / name).unlink()
    git(made.root, "checkout", "--", ".")
    assert made.edited() == ()
    source = models.save(tmp_path / "new", models.tuned(first, 9, names=["model.norm.weight"]))
    done = commit(
        made, Wish("third", onto="HEAD", message="böse # words"), CheckpointSource(source), CREW
    )
    assert made.edited() == ()
    assert made.head().vector("third") == done.vector
    event = next(log(made, None, 1))
    assert (event.entry.subject, event.entry.commit) == ("böse # words", done.commit)
    assert [(change.name, change.action) for change in event.vectors] == [("third", "added")]
    assert len([*log(made, "third", None)]) == 1
    checkout(made, "v1", DirectoryTarget(made.root / "served"), keep_head=False, crew=CREW)
    assert made.edited() == ()
    switch(made, "main", create=False)
    remove(made, "quiet")
    assert made.edited() == ()
    assert git(made.root, "status", "--porcelain", "--no-branch", "-uall") == ""
