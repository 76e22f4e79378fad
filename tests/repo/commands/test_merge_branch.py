"""Merging branches: terms by name, vectors as wholes, and conflicts that people conclude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands.branches import switch
from pvc.repo.commands.build import build
from pvc.repo.commands.commit_edits import UnresolvedError, commit_edits
from pvc.repo.commands.editing import DependentError
from pvc.repo.commands.merge_branch import (
    MergeConflictError,
    NoMergeError,
    abort,
    merge_branch,
)
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.revert import revert
from pvc.repo.commands.scale import Scaling, rescale
from pvc.repo.git import BlockedMoveError, GitError, UnfinishedError
from pvc.repo.history.notes import read_note
from pvc.repo.personality.resolve import UnresolvableError
from pvc.repo.repository import EditedError, Repository
from pvc.repo.snapshot import NoVectorError
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from pvc.repo.commands.three_way import Side
    from tests.repo.conftest import Commit
    from tests.support.models import Model


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
    with pytest.raises(NoMergeError, match="No merge is under way"):
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
    assert conflict.theirs == f"to {theirs.to_tree.hex()[:12]}"
    git(made.root, "checkout", "--quiet", "--theirs", "vectors/quiet.json")
    commit_edits(made, "keep it")
    assert made.head().vector("quiet") == theirs


def moved_and_trained(repository: Repository, do_commit: Commit, result: Model) -> None:
    """Main renamed a vector, which work trained anew; work removed another one."""
    both_scaled(repository)
    rename(repository, "quiet", "calm")
    switch(repository, "work", create=False)
    scale(repository, "quiet", 0)
    (repository.root / "personality.toml").write_text('[[term]]\nvector = "suggesting"\n')
    commit_edits(repository, "fewer")
    do_commit("quiet", result, aside=True, onto="base")
    remove(repository, "listening")
    switch(repository, "main", create=False)


@pytest.mark.parametrize("keep", [False, True])
def test_vectors_that_one_side_moved(
    made: Repository, do_commit: Commit, first: Model, keep: bool
) -> None:
    moved_and_trained(made, do_commit, models.tuned(first, 9))
    before, calm = made.head().commit, made.head().vector("calm")
    with pytest.raises(MergeConflictError) as caught:
        merge_branch(made, "work")
    names = [(conflict.sort, conflict.name) for conflict in caught.value.conflicts]
    assert names == [("term", "listening"), ("vector", "quiet")]
    with pytest.raises(UnresolvedError, match=r"personality\.toml, vectors/quiet\.json"):
        commit_edits(made, "too early")
    git(made.root, "checkout", "--quiet", "--theirs", "personality.toml")
    if keep:
        git(made.root, "checkout", "--quiet", "--theirs", "vectors/quiet.json")
    else:
        (made.root / "vectors" / "quiet.json").unlink()
    done = commit_edits(made, "by hand")
    assert made.git.parents(done.commit) == [before, made.git.find("work")]
    assert terms(made) == "base + suggesting"
    assert made.head().names == ("calm", *(["quiet"] if keep else []), "suggesting")
    assert made.head().vector("calm") == calm
    assert git(made.root, "status", "--porcelain") == ""


@pytest.mark.parametrize("edit", [False, True])
def test_abort_leaves_nothing_behind(
    made: Repository, do_commit: Commit, first: Model, edit: bool
) -> None:
    moved_and_trained(made, do_commit, models.tuned(first, 9))
    before = models.contents(made.root / "vectors")
    with pytest.raises(MergeConflictError):
        merge_branch(made, "work")
    if edit:
        (made.root / "personality.toml").write_text("# mine\n")
        (made.root / "vectors" / "quiet.json").unlink()
        for path in (made.root / "vectors").iterdir():
            path.touch()
    abort(made)
    assert git(made.root, "status", "--porcelain") == ""
    assert models.contents(made.root / "vectors") == before
    merge_branch(made, "work", "theirs")
    assert terms(made) == "base + suggesting"


def test_both_sides_rename_one_vector(made: Repository) -> None:
    both_scaled(made)
    rename(made, "quiet", "calm")
    switch(made, "work", create=False)
    (made.root / "personality.toml").write_text('[[term]]\nvector = "listening"\nscale = 0.7\n')
    commit_edits(made, "fewer")
    rename(made, "quiet", "silent")
    switch(made, "main", create=False)
    with pytest.raises(MergeConflictError):
        merge_branch(made, "work")
    git(made.root, "checkout", "--quiet", "--theirs", "personality.toml")
    commit_edits(made, "both names")
    assert made.head().names == ("calm", "listening", "silent", "suggesting")
    assert terms(made) == "base + 0.7*listening"


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


def test_a_derived_vector_keeps_what_it_is_made_of(made: Repository) -> None:
    """Neither a merge, nor a revert, nor an edit leaves it without."""
    parted(made)
    rescale(made, Scaling("quiet", 2, "loud"))
    captured = git(made.root, "log", "-1", "--format=%H", "--", "vectors/quiet.json").strip()
    with pytest.raises(DependentError, match="vector loud depends on it"):
        revert(made, captured)
    switch(made, "main", create=False)
    remove(made, "quiet")
    before = made.head().commit
    with pytest.raises(NoVectorError, match="no vector quiet"):
        merge_branch(made, "work")
    assert made.head().commit == before
    switch(made, "work", create=False)
    (made.root / "vectors" / "quiet.json").unlink()
    with pytest.raises(DependentError):
        commit_edits(made, "by hand")
    (made.root / "vectors" / "loud.json").unlink()
    commit_edits(made, "both at once")
    assert made.head().names == ("listening", "suggesting")


def test_vectors_made_of_each_other_are_refused(made: Repository) -> None:
    for new, name in (("one", "quiet"), ("two", "one")):
        rescale(made, Scaling(name, 2, new))
    file = made.root / "vectors" / "one.json"
    file.write_text(file.read_text().replace('"quiet"', '"two"'))
    with pytest.raises(UnresolvableError, match="one -> two -> one"):
        commit_edits(made, "round and round")


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
    with pytest.raises(NoMergeError, match="not a commit"):
        merge_branch(made, "listening")
    git(made.root, "checkout", "--quiet", "--orphan", "apart")
    git(made.root, "commit", "--quiet", "-m", "apart")
    with pytest.raises(NoMergeError, match="in common"):
        merge_branch(made, "main")
