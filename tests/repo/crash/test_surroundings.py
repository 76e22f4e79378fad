"""What others do meanwhile, or did before: git commands, refilled folders, nested ones, edits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pvc.parallel import Crew
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import BadPlaceError, DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.editing import NameTakenError
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.log import log, show
from pvc.repo.commands.origin_choice import UnknownOriginError
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.git import BlockedMoveError
from pvc.repo.history.recording import HeadMovedError
from pvc.repo.history.revision import AmbiguousError
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pvc.repo.repository import Repository
    from tests.repo.conftest import Commit
    from tests.support.models import Model


class Meddler:
    """Progress that does something else once, when the first bytes were read."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act: Callable[[], object] | None = act

    def start(self, label: str, total: int) -> None:
        act, self._act = self._act, None
        if act is not None:
            act()

    def label(self, text: str) -> None:
        pass

    def advance(self, count: int) -> None:
        pass


@pytest.mark.parametrize("how", ["another branch", "another commit"])
def test_head_moves_while_a_checkpoint_is_read(
    repository: Repository, base_model: Model, tmp_path: Path, how: str
) -> None:
    source = models.save(tmp_path / "out", models.tuned(base_model, 1))
    git(repository.root, "branch", "other")
    moves = {
        "another branch": ("switch", "-q", "other"),
        "another commit": ("commit", "-q", "--allow-empty", "-m", "mine"),
    }
    crew = Crew(1, Meddler(lambda: git(repository.root, *moves[how])))
    with pytest.raises(HeadMovedError):
        commit(repository, Wish("listening"), CheckpointSource(source), crew)
    assert git(repository.root, "log", "--format=%s", "--all").count("listening") == 0
    assert repository.edited() == ()
    assert commit(repository, Wish("listening"), CheckpointSource(source), CREW).applied


def test_a_refilled_target_is_not_what_was_checked_out_there(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    do_commit("listening", models.tuned(base_model, 1))
    served = tmp_path / "served"
    checkout(repository, "HEAD", DirectoryTarget(served), keep_head=False, crew=CREW)
    models.save(served, models.tuned(base_model, 2, step=1e-5))
    with pytest.raises(UnknownOriginError, match="held main when pvc last wrote") as caught:
        commit(repository, Wish("suggesting"), CheckpointSource(served), CREW)
    assert caught.value.evidence.side == "base"
    done = commit(
        repository, Wish("suggesting", onto="base", aside=True), CheckpointSource(served), CREW
    )
    assert done.vector.from_tree == done.vector.base


@pytest.mark.parametrize(
    "place",
    ["served/inner", ".", ".git/x", ".git/refs/heads/x", "vectors/x", "behaviours/x", "../base/x"],
)
def test_no_target_lies_in_something_else(
    repository: Repository, base: Path, tmp_path: Path, place: str
) -> None:
    checkout(
        repository, "HEAD", DirectoryTarget(repository.root / "served"), keep_head=False, crew=CREW
    )
    where = base / "x" if place.startswith("../base") else repository.root / place
    before = models.contents(base)
    with pytest.raises(BadPlaceError):
        checkout(repository, "HEAD", DirectoryTarget(where), keep_head=False, crew=CREW)
    assert models.contents(base) == before
    assert repository.edited() == ()


def test_no_target_lies_around_another(repository: Repository, tmp_path: Path) -> None:
    checkout(repository, "HEAD", DirectoryTarget(tmp_path / "a" / "b"), keep_head=False, crew=CREW)
    with pytest.raises(BadPlaceError):
        checkout(repository, "HEAD", DirectoryTarget(tmp_path / "a"), keep_head=False, crew=CREW)


def test_where_git_would_refuse_no_weights_are_written(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    do_commit("listening", models.tuned(base_model, 1))
    mine = repository.root / "mine"
    mine.write_text("one")
    git(repository.root, "add", "mine")
    git(repository.root, "commit", "-qm", "mine")
    served = tmp_path / "served"
    checkout(repository, "HEAD", DirectoryTarget(served), keep_head=False, crew=CREW)
    mine.write_text("two")
    before = {file: file.stat().st_mtime_ns for file in served.rglob("*")}
    with pytest.raises(BlockedMoveError):
        checkout(repository, "HEAD~1", DirectoryTarget(served), keep_head=False, crew=CREW)
    assert {file: file.stat().st_mtime_ns for file in served.rglob("*")} == before
    assert mine.read_text() == "two"


def test_a_hook_that_fails_after_the_move_changes_nothing(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    do_commit("listening", models.tuned(base_model, 1))
    hook = repository.git.common / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    done = checkout(
        repository, "HEAD~1", DirectoryTarget(tmp_path / "served"), keep_head=False, crew=CREW
    )
    assert done.head_moved
    assert repository.head().commit == done.revision.state.commit
    assert not fsck(repository, CREW).findings


def test_a_behaviour_goes_with_its_vector(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    do_commit("listening", models.tuned(base_model, 1), aside=True)
    do_commit("suggesting", models.tuned(base_model, 2), aside=True)
    folder = repository.root / "behaviours"
    folder.mkdir()
    (folder / "listening.toml").write_text("what = 1\n")
    (folder / "quiet.toml").write_text("what = 2\n")
    git(repository.root, "add", "behaviours")
    git(repository.root, "commit", "-qm", "behaviours")
    with pytest.raises(NameTakenError):
        rename(repository, "suggesting", "quiet")
    remove(repository, "listening")
    assert sorted(os.listdir(folder)) == ["quiet.toml"]  # noqa: PTH208
    assert repository.edited() == ()


def test_modes_and_strangers_files_are_no_edits(repository: Repository) -> None:
    (repository.root / "personality.toml").chmod(0o755)
    (repository.root / "vectors").mkdir(exist_ok=True)
    (repository.root / "vectors" / ".listening.json.swp").write_bytes(b"\0")
    assert repository.edited() == ()


def test_a_name_that_git_gave_twice(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    do_commit("listening", models.tuned(base_model, 1))
    git(repository.root, "tag", "listening")
    for use in (lambda: log(repository, "listening", None), lambda: show(repository, "listening")):
        with pytest.raises(AmbiguousError):
            use()
