"""`pvc merge BRANCH`: terms by name, vectors as wholes, other files as git merges them.

Where both sides changed the same in different ways, one side is taken, or the merge is left to
people: git is then in the middle of it, the files hold both values between git's markers, and
`commit_edits.commit_edits` concludes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.commands.editing import Edited, checked, ready
from pvc.repo.commands.merge_sides import Sides, conflicts, is_own, marked, own_files
from pvc.repo.git import UnfinishedError
from pvc.repo.history.journal import Journal
from pvc.repo.history.recording import at, note_quietly
from pvc.repo.history.recovery import Journalled, recover
from pvc.repo.history.revision import resolve
from pvc.repo.snapshot import PATHS, Snapshot
from pvc_store import atomic

if TYPE_CHECKING:
    from pvc.repo.commands.editing import Changes
    from pvc.repo.commands.merge_sides import Conflict
    from pvc.repo.commands.three_way import Side
    from pvc.repo.repository import Repository


class MergeConflictError(PvcError):
    """A merge is left to people, since both sides changed the same terms, vectors or files.

    Attributes:
        revision: the branch or commit.
        conflicts: the terms, vectors and files.
    """

    def __init__(self, revision: str, conflicts: tuple[Conflict, ...]) -> None:
        self.revision = revision
        self.conflicts = conflicts
        super().__init__(f"Merging {revision} conflicts in {'; '.join(map(str, conflicts))}.")


class NoMergeError(PvcError):
    """There is nothing that could be merged, or no merge that could be aborted."""


def merge_branch(
    repository: Repository, text: str, favour: Side | None = None, message: str | None = None
) -> Edited:
    """Merge a branch, or any commit, into HEAD's branch.

    Args:
        repository: where.
        text: the branch or commit.
        favour: the side that is taken where both changed the same; None leaves that to people.
        message: of the merge commit.

    Raises:
        MergeConflictError: the merge has begun, and people have to conclude it.
        NoMergeError: it is no commit, or has nothing in common with HEAD.
        NoVectorError, IdentityError: the merged personality cannot be computed.
        EditedError, UnfinishedError, DetachedError: HEAD is not ready for it.
        GitError: edited files are in the way.
    """
    with repository.lock():
        head, git = ready(repository), repository.git
        revision = resolve(repository, text)
        if not revision.is_commit:
            raise NoMergeError(f"{text} cannot be merged: it is not a commit.")
        theirs = revision.state
        old = git.merge_base(head.commit, theirs.commit)
        if old is None:
            raise NoMergeError(f"{text} cannot be merged: it has no commit in common with HEAD.")
        if old == theirs.commit:
            return Edited(head.commit, "Already up to date.", head.personality, ())
        if old == head.commit:
            _forward(repository, head, theirs.commit)
            paths = tuple(sorted(_differences(head, theirs)))
            return Edited(theirs.commit, f"Fast-forward to {text}.", theirs.personality, paths)
        sides = Sides(Snapshot(git, old), head, theirs, text)
        return _merge(repository, sides, favour, message or f"Merge {text}")


def _merge(repository: Repository, sides: Sides, favour: Side | None, message: str) -> Edited:
    git, ours, theirs = repository.git, sides.ours, sides.theirs
    merged = git.merged_tree(ours.commit, theirs.commit)
    others = [path for path in merged.conflicts if not is_own(path)]
    found = conflicts(sides, others)
    if found and favour is None:
        _leave_to_people(repository, sides)
        raise MergeConflictError(sides.name, found)
    side = favour or "ours"
    chosen = ours if side == "ours" else theirs
    files: Changes = {path: git.read_bytes(chosen.commit, path) for path in others}
    files |= own_files(sides, side)
    scratch, parents = repository.folder, (ours.commit, theirs.commit)
    commit = git.commit_merge(merged.tree, files, parents, message, scratch)
    after = Snapshot(git, commit)
    changes = _differences(ours, after)
    built = checked(repository, ours, after, changes)
    _forward(repository, ours, commit)
    note_quietly(repository, commit, built)
    return Edited(commit, message, after.personality, tuple(sorted(changes)))


def _forward(repository: Repository, head: Snapshot, commit: str) -> None:
    """Move HEAD's branch to a commit; killed in between, the next command finishes or undoes it."""
    before = at(head)
    with Journalled(
        repository, Journal(repository.home, repository.root, before, (before[0], commit))
    ):
        repository.git.forward(commit)


def _differences(before: Snapshot, after: Snapshot) -> Changes:
    """The files of pvc that differ, as they are afterwards."""
    git = before.git
    paths = git.changed(before.commit, after.commit, PATHS)
    return {path: git.read_bytes(after.commit, path) for path in paths}


def _leave_to_people(repository: Repository, sides: Sides) -> None:
    """Let git begin the merge, and put pvc's files and conflicts in the place of git's."""
    git = repository.git
    git.begin_merge(sides.theirs.commit)
    ours, theirs = own_files(sides, "ours"), own_files(sides, "theirs")
    for path, data in ours.items():
        file = repository.root / path
        if data is None and theirs[path] is None:
            file.unlink(missing_ok=True)
        else:
            atomic.make_directory(file.parent)
            both = marked(data or b"", theirs[path] or b"", sides.name)
            atomic.write_file(file, both)
    agreed = [path for path in ours if ours[path] == theirs[path]]
    git.stage(agreed)
    for path in sorted({*ours} - {*agreed}):
        old = git.read_bytes(sides.old.commit, path)
        git.stage_conflict(path, (old, ours[path], theirs[path]))


def abort(repository: Repository) -> None:
    """Go back to before the merge that is under way.

    Raises:
        NoMergeError: none is.
        UnfinishedError: git is in the middle of something else.
    """
    with repository.lock():
        recover(repository)
        operation = repository.git.unfinished()
        if operation is None:
            raise NoMergeError("No merge is under way.")
        if operation != "merge":
            raise UnfinishedError(operation)
        repository.git.abort_merge()
