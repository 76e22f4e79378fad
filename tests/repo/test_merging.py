"""Merging branches: terms by name, vectors as wholes, and conflicts that people conclude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc.repo.building import build
from pvc.repo.by_hand import UnresolvedError, commit_edits
from pvc.repo.compose import Scaling, rescale
from pvc.repo.edits import remove, rename
from pvc.repo.git import BlockedMoveError, GitError, UnfinishedError
from pvc.repo.merging import (
    MergeConflictError,
    NoMergeError,
    NotMergeableError,
    abort,
    merge_branch,
)
from pvc.repo.record import read_note
from pvc.repo.refs import switch
from pvc.repo.repository import EditedError, Repository
from pvc.repo.state import NoVectorError
from tests.repo import models
from tests.repo.conftest import CREW, git

if TYPE_CHECKING:
    from pvc.repo.terms import Side
    from tests.repo.conftest import Commit
    from tests.repo.models import Model


def scale(repository: Repository, name: str, factor: float) -> None:
    rescale(repository, Scaling(name, factor))


def parted(repository: Repository, name: str = "work") -> None:
    """From here on there are two branches; HEAD is on the new one."""
    switch(repository, name, create=True)


def terms(repository: Repository) -> str:
    return str(repository.head().personality)


def test_terms_that_one_side_changed(made: Repository) -> None:
    parted(made)
    scale(made, "listening", 0.5)
    scale(made, "quiet", 0.25)
    switch(made, "main", create=False)
    scale(made, "suggesting", -1)
    before = made.head().commit
    done = merge_branch(made, "work")
    assert terms(made) == "base + 0.5*listening - suggesting + 0.25*quiet"
    assert done.commit == made.head().commit
    assert done.paths == ("personality.toml",)
    assert made.git.parents(done.commit) == [before, made.git.find("work")]
    assert git(made.root, "status", "--porcelain") == ""
    assert merge_branch(made, "work").paths == ()  # already up to date
    assert made.head().commit == done.commit


def test_what_is_merged_builds_to_the_same_as_its_sum(made: Repository) -> None:
    parted(made)
    scale(made, "quiet", 0.25)
    switch(made, "main", create=False)
    scale(made, "suggesting", -1)
    merge_branch(made, "work")
    merged = build(made, "HEAD", CREW).built.tree
    assert merged == build(made, "base + listening - suggesting + 0.25*quiet", CREW).built.tree
    noted = read_note(made, made.head().commit)
    assert noted is not None
    assert noted.tree == merged


def test_fast_forward(made: Repository) -> None:
    parted(made)
    scale(made, "quiet", 1)
    goal = made.head().commit
    switch(made, "main", create=False)
    assert merge_branch(made, "work").commit == goal
    assert made.head().commit == goal
    assert made.git.branch() == "main"
    assert git(made.root, "status", "--porcelain") == ""


def test_vectors_are_merged_as_wholes(made: Repository, do_commit: Commit, first: Model) -> None:
    parted(made)
    do_commit("quiet", models.tuned(first, 9), aside=True, onto="base")
    theirs = made.head().vector("quiet")
    rename(made, "suggesting", "proposing")
    switch(made, "main", create=False)
    do_commit("another", models.tuned(first, 8), aside=True, onto="base")
    merge_branch(made, "work")
    head = made.head()
    assert head.names == ("another", "listening", "proposing", "quiet")
    assert head.vector("quiet") == theirs
    assert terms(made) == "base + listening + proposing"


def both_scaled(repository: Repository) -> None:
    """The term listening is 0.7 at work, and 0.3 at main; HEAD is on main."""
    parted(repository)
    scale(repository, "listening", 0.7)
    scale(repository, "quiet", 1)
    switch(repository, "main", create=False)
    scale(repository, "listening", 0.3)


@pytest.mark.parametrize(("side", "factor"), [("ours", "0.3"), ("theirs", "0.7")])
def test_a_side_settles_conflicts(made: Repository, side: Side, factor: str) -> None:
    both_scaled(made)
    merge_branch(made, "work", side, "chosen")
    assert terms(made) == f"base + {factor}*listening + suggesting + quiet"
    assert git(made.root, "log", "-1", "--format=%s").strip() == "chosen"
    assert git(made.root, "status", "--porcelain") == ""


def test_conflicts_are_left_to_people(made: Repository) -> None:
    both_scaled(made)
    before = made.head().commit
    with pytest.raises(MergeConflictError, match=r"term listening \(0\.3 here, 0\.7 there\)"):
        merge_branch(made, "work")
    text = (made.root / "personality.toml").read_text()
    assert "<<<<<<< HEAD\nscale = 0.3\n=======\nscale = 0.7\n>>>>>>> work\n" in text
    assert made.head().commit == before
    for change in (
        lambda: scale(made, "quiet", 2),
        lambda: merge_branch(made, "work"),
    ):
        with pytest.raises(UnfinishedError):
            change()
    with pytest.raises(UnresolvedError, match=r"personality\.toml"):
        commit_edits(made, "too early")
    start, end = text.index("<<<<<<<"), text.index(">>>>>>> work\n") + len(">>>>>>> work\n")
    (made.root / "personality.toml").write_text(text[:start] + "scale = 0.5\n" + text[end:])
    done = commit_edits(made, "by hand")
    assert terms(made) == "base + 0.5*listening + suggesting + quiet"
    assert made.git.parents(done.commit) == [before, made.git.find("work")]
    assert made.git.unfinished() is None
    assert git(made.root, "status", "--porcelain") == ""


def test_all_resolved_to_what_was_is_a_merge_all_the_same(made: Repository) -> None:
    parted(made)
    scale(made, "listening", 0.7)
    switch(made, "main", create=False)
    scale(made, "listening", 0.3)
    with pytest.raises(MergeConflictError):
        merge_branch(made, "work")
    git(made.root, "checkout", "--quiet", "--ours", "personality.toml")
    done = commit_edits(made, "ours")
    assert len(made.git.parents(done.commit)) == 2
    assert terms(made) == "base + 0.3*listening + suggesting"


def test_abort(made: Repository) -> None:
    both_scaled(made)
    before = made.head().commit
    with pytest.raises(MergeConflictError):
        merge_branch(made, "work")
    abort(made)
    assert made.head().commit == before
    assert git(made.root, "status", "--porcelain") == ""
    with pytest.raises(NoMergeError):
        abort(made)


def test_conflicts_of_vectors_show_both(made: Repository, do_commit: Commit, first: Model) -> None:
    parted(made)
    do_commit("quiet", models.tuned(first, 9), aside=True, onto="base")
    theirs = models.captured(made.head(), "quiet")
    switch(made, "main", create=False)
    remove(made, "quiet")
    with pytest.raises(MergeConflictError) as caught:
        merge_branch(made, "work")
    (conflict,) = caught.value.conflicts
    assert (conflict.sort, conflict.name, conflict.ours) == ("vector", "quiet", "removed")
    assert conflict.theirs == f"to {theirs.result.hex()[:12]}"
    git(made.root, "checkout", "--quiet", "--theirs", "vectors/quiet.json")
    commit_edits(made, "keep it")
    assert made.head().vector("quiet") == theirs


def test_a_term_whose_vector_the_other_side_removed(made: Repository) -> None:
    parted(made)
    scale(made, "quiet", 1)
    switch(made, "main", create=False)
    remove(made, "quiet")
    before = made.head().commit
    with pytest.raises(NoVectorError):
        merge_branch(made, "work")
    assert made.head().commit == before
    assert git(made.root, "status", "--porcelain") == ""


def test_files_of_others_are_merged_by_git(made: Repository) -> None:
    (made.root / "notes.txt").write_text("a\n")
    git(made.root, "add", "notes.txt")
    git(made.root, "commit", "--quiet", "-m", "notes")
    parted(made)
    scale(made, "quiet", 1)
    (made.root / "notes.txt").write_text("theirs\n")
    (made.root / "more.txt").write_text("more\n")
    git(made.root, "add", "more.txt")
    git(made.root, "commit", "--quiet", "-am", "their notes")
    switch(made, "main", create=False)
    (made.root / "notes.txt").write_text("ours\n")
    git(made.root, "commit", "--quiet", "-am", "our notes")
    with pytest.raises(MergeConflictError, match=r"file notes\.txt"):
        merge_branch(made, "work")
    with pytest.raises(UnresolvedError, match=r"notes\.txt"):
        commit_edits(made, "too early")
    abort(made)
    merge_branch(made, "work", "theirs")
    assert (made.root / "notes.txt").read_text() == "theirs\n"
    assert (made.root / "more.txt").read_text() == "more\n"
    assert terms(made) == "base + listening + suggesting + quiet"


def test_edited_files_are_not_overwritten(made: Repository) -> None:
    parted(made)
    scale(made, "quiet", 1)
    (made.root / "notes.txt").write_text("theirs\n")
    git(made.root, "add", "notes.txt")
    git(made.root, "commit", "--quiet", "-m", "notes")
    switch(made, "main", create=False)
    scale(made, "listening", 0.5)
    before = made.head().commit
    (made.root / "notes.txt").write_text("mine\n")
    with pytest.raises((GitError, BlockedMoveError)):
        merge_branch(made, "work")
    assert made.head().commit == before
    assert (made.root / "notes.txt").read_text() == "mine\n"
    (made.root / "personality.toml").write_text("# mine\n")
    with pytest.raises(EditedError):
        merge_branch(made, "work")


def test_what_cannot_be_merged(made: Repository) -> None:
    with pytest.raises(NotMergeableError, match="not a commit"):
        merge_branch(made, "listening")
    git(made.root, "checkout", "--quiet", "--orphan", "apart")
    git(made.root, "commit", "--quiet", "-m", "apart")
    with pytest.raises(NotMergeableError, match="in common"):
        merge_branch(made, "main")
