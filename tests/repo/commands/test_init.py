"""A repository begins: in an empty directory, in a git repository, or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands import init as initialise_module
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.init import BaseAroundError, ExistsError, initialise
from pvc.repo.commands.status import status
from pvc.repo.git import Git, GitError, NoRepositoryError, ObjectFormatError, UnfinishedError
from pvc.repo.history import recovery as recovery_module
from pvc.repo.history.notes import read_note
from pvc.repo.history.recording import DetachedError
from pvc.repo.repository import Repository
from pvc.repo.targets.directory import InTheWayError
from pvc.weights.errors import CheckpointError
from pvc_store.errors import LockedError
from pvc_store.lock import hold
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.models import Model


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git repository of somebody's, with something staged, something edited and something new."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q")
    for name in ("kept.txt", "staged.txt", "edited.txt"):
        (root / name).write_text("old\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "start")
    (root / "staged.txt").write_text("new\n")
    git(root, "add", "staged.txt")
    (root / "edited.txt").write_text("new\n")
    (root / "untracked.txt").write_text("new\n")
    return root


def test_new_directory(tmp_path: Path, base: Path) -> None:
    root = tmp_path / "new"
    root.mkdir()
    done = initialise(root, base, by_value=True, crew=CREW)
    assert done.tensors == len(models.SHAPES)
    assert done.total_bytes == models.elements(models.model()) * 2
    assert 0 < done.stored_bytes < done.total_bytes
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "branch", "--show-current") == "main\n"
    assert sorted(path.name for path in root.iterdir()) == [".git", "personality.toml", "pvc.toml"]
    with Repository.open(root) as repository:
        found = status(repository)
        assert (found.branch, str(found.personality)) == ("main", "base")
        assert found.tree == done.config.base_tree
        noted = read_note(repository, done.commit)
        assert noted is not None
        assert (noted.tree, noted.layout) == (done.config.base_tree, done.config.base_layout)


def test_what_a_killed_git_left_is_removed(tmp_path: Path, base: Path) -> None:
    left = tmp_path / "new" / ".git.pvc-tmp" / ".git"
    left.mkdir(parents=True)
    (left / "HEAD").touch()
    initialise(tmp_path / "new", base, by_value=False, crew=CREW)
    assert not left.parent.exists()
    assert git(tmp_path / "new", "status", "--porcelain") == ""


def test_users_own_branch_name(
    tmp_path: Path, base: Path, git_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(git_config.read_text().replace("main", "trunk"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    (tmp_path / "new").mkdir()
    initialise(tmp_path / "new", base, by_value=False, crew=CREW)
    assert git(tmp_path / "new", "branch", "--show-current") == "trunk\n"


def test_by_reference_stores_only_small_files(tmp_path: Path, base: Path) -> None:
    (tmp_path / "new").mkdir()
    done = initialise(tmp_path / "new", base, by_value=False, crew=CREW)
    assert done.stored_bytes < 10_000
    assert not done.config.by_value


def test_only_own_paths_are_committed(project: Path, base: Path) -> None:
    before = git(project, "diff"), git(project, "diff", "--cached"), git(project, "status", "-s")
    initialise(project, base, by_value=True, crew=CREW)
    changed = git(project, "show", "--name-only", "--format=", "HEAD").split()
    assert changed == ["personality.toml", "pvc.toml"]
    after = git(project, "diff"), git(project, "diff", "--cached"), git(project, "status", "-s")
    assert after == before


def test_staged_before_the_first_commit(tmp_path: Path, base: Path) -> None:
    git(tmp_path, "init", "-q", "work")
    root = tmp_path / "work"
    (root / "mine.txt").write_text("mine\n")
    git(root, "add", "mine.txt")
    initialise(root, base, by_value=True, crew=CREW)
    assert git(root, "ls-tree", "--name-only", "HEAD").split() == ["personality.toml", "pvc.toml"]
    assert git(root, "status", "--porcelain") == "A  mine.txt\n"


def test_twice(root: Path, base: Path) -> None:
    before = git(root, "rev-parse", "HEAD"), models.contents(root / ".git" / "pvc")
    with pytest.raises(ExistsError):
        initialise(root, base, by_value=True, crew=CREW)
    assert (git(root, "rev-parse", "HEAD"), models.contents(root / ".git" / "pvc")) == before


def test_below_another_repository_a_new_one_begins(project: Path, base: Path) -> None:
    (project / "below").mkdir()
    before = git(project, "status", "--porcelain")
    made = initialise(project / "below", base, by_value=True, crew=CREW)
    assert made.root == project / "below"
    assert git(project / "below", "rev-parse", "--show-toplevel").strip() == str(project / "below")
    assert not (project / ".git" / "pvc").exists()
    assert git(project, "status", "--porcelain", "--", ".", ":!below") == before


@pytest.mark.parametrize("below", [".", "work"])
def test_base_around_the_repository(tmp_path: Path, below: str) -> None:
    base = models.save(tmp_path / "model", models.model(shapes={"a.weight": (4, 4)}))
    (base / below).mkdir(exist_ok=True)
    before = models.contents(base)
    with pytest.raises(BaseAroundError):
        initialise(base / below, base, by_value=True, crew=CREW)
    assert models.contents(base) == before


def test_base_within_the_working_tree_is_ignored_by_git(tmp_path: Path) -> None:
    base = models.save(tmp_path / "work" / "a [b]* c", models.model(shapes={"a.weight": (4, 4)}))
    done = initialise(tmp_path / "work", base, by_value=False, crew=CREW)
    assert done.config.base_path == "a [b]* c"
    assert git(tmp_path / "work", "status", "--porcelain") == ""
    (tmp_path / "work").rename(tmp_path / "moved")  # the base is found relative to the root
    with Repository.open(tmp_path / "moved") as repository:
        assert status(repository).base_present


@pytest.mark.parametrize("tracked", [False, True])
def test_a_users_personality_is_not_overwritten(project: Path, base: Path, tracked: bool) -> None:
    (project / "personality.toml").write_text("mine = true\n")
    if tracked:
        git(project, "add", "personality.toml")
        git(project, "commit", "-q", "-m", "mine")
        (project / "personality.toml").unlink()
    with pytest.raises(InTheWayError):
        initialise(project, base, by_value=True, crew=CREW)
    assert not (project / ".git" / "pvc").exists()


def test_in_the_middle_of_a_merge(project: Path, base: Path) -> None:
    git(project, "stash")
    git(project, "checkout", "-q", "-b", "other")
    (project / "theirs.txt").write_text("theirs\n")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "theirs")
    git(project, "checkout", "-q", "main")
    git(project, "commit", "-q", "--allow-empty", "-m", "ours")
    git(project, "merge", "-q", "--no-commit", "other")
    with pytest.raises(UnfinishedError):
        initialise(project, base, by_value=True, crew=CREW)
    assert (project / ".git" / "MERGE_HEAD").exists()


@pytest.mark.parametrize("broken", ["folder", "file"])
def test_a_git_that_is_none(project: Path, base: Path, broken: str) -> None:
    """Git would go up from there, to a repository that was not meant."""
    (project / "below").mkdir()
    if broken == "folder":
        (project / "below" / ".git").mkdir()
    else:
        (project / "below" / ".git").write_text("gitdir: nowhere\n")
    before = models.contents(project)
    with pytest.raises(NoRepositoryError):
        initialise(project / "below", base, by_value=True, crew=CREW)
    assert models.contents(project) == before


def test_detached(project: Path, base: Path) -> None:
    git(project, "checkout", "-q", "--detach")
    with pytest.raises(DetachedError):
        initialise(project, base, by_value=True, crew=CREW)
    assert not (project / ".git" / "pvc").exists()


def test_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(CheckpointError):
        initialise(tmp_path / "new", tmp_path / "nothing", by_value=True, crew=CREW)
    assert list((tmp_path / "new").iterdir()) == []


def test_odd_names_of_the_base(tmp_path: Path, base_model: Model) -> None:
    for number, name in enumerate(["é 'x' \"y\"", "a\nb\t", "[x]#*"]):
        (tmp_path / f"new{number}").mkdir()
        base = models.save(tmp_path / name, base_model)
        done = initialise(tmp_path / f"new{number}", base, by_value=False, crew=CREW)
        assert done.config.base_path == str(base)
        with Repository.open(tmp_path / f"new{number}") as repository:
            assert status(repository).base_present
    (tmp_path / "none").mkdir()
    base = models.save(tmp_path / "caf\udce9", base_model)
    with pytest.raises(CheckpointError, match="UTF-8"):
        initialise(tmp_path / "none", base, by_value=False, crew=CREW)
    assert list((tmp_path / "none").iterdir()) == []


def test_nobody_commits(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.useConfigOnly")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    (tmp_path / "new").mkdir()
    with pytest.raises(GitError, match="user"):
        initialise(tmp_path / "new", base, by_value=True, crew=CREW)
    assert list((tmp_path / "new").iterdir()) == []


def test_sha256_repositories_are_refused(tmp_path: Path, base: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256", "work")
    before = models.contents(tmp_path / "work")
    with pytest.raises(ObjectFormatError):
        initialise(tmp_path / "work", base, by_value=True, crew=CREW)
    assert models.contents(tmp_path / "work") == before


class Interrupt(BaseException):
    """Not an error that anybody expects."""


def interrupt(*_: object, **__: object) -> None:
    raise Interrupt


@pytest.mark.parametrize(
    ("owner", "name"),
    [(initialise_module, "capture"), (initialise_module, "record"), (Git, "commit")],
)
@pytest.mark.parametrize("in_git", [False, True])
def test_interrupted_it_leaves_nothing(
    tmp_path: Path,
    project: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    in_git: bool,
) -> None:
    root = project if in_git else tmp_path / "new"
    root.mkdir(exist_ok=True)
    before = git(root, "status") if in_git else None
    monkeypatch.setattr(owner, name, interrupt)
    with pytest.raises(Interrupt):
        initialise(root, base, by_value=True, crew=CREW)
    if in_git:
        assert git(root, "status") == before
        assert not (root / ".git" / "pvc").exists()
    else:
        assert list(root.iterdir()) == []
    monkeypatch.undo()
    initialise(root, base, by_value=True, crew=CREW)


@pytest.mark.parametrize("name", ["follow_head", "add_note"])
def test_interrupted_after_the_commit_it_is_complete(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = tmp_path / "new"
    root.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Git, name, interrupt)
        patch.setattr(recovery_module, "recover", interrupt)  # as if the process were gone
        with pytest.raises(Interrupt):
            initialise(root, base, by_value=True, crew=CREW)
    with pytest.raises(ExistsError):
        initialise(root, base, by_value=True, crew=CREW)
    with Repository.open(root) as repository:
        assert status(repository).interrupted
        source = models.save(tmp_path / "new-model", models.tuned(models.model(), 1))
        commit(repository, Wish("listening"), CheckpointSource(source), CREW)
        assert not status(repository).interrupted
    assert git(root, "status", "--porcelain") == ""


def test_somebody_else_is_initialising(tmp_path: Path, base: Path) -> None:
    git(tmp_path, "init", "-q", "work")
    folder = tmp_path / "work" / ".git" / "pvc"
    folder.mkdir()
    with (
        hold(folder / "repository.lock", exclusive=True, holder="another"),
        pytest.raises(LockedError),
    ):
        initialise(tmp_path / "work", base, by_value=True, crew=CREW)
    assert (folder / "format").exists()
