"""Finishing or undoing what a killed process left behind.

HEAD decides.  If it moved, the operation is finished: text files follow HEAD, and the target is
what was verified before HEAD moved.  If it did not, the target goes back to what it held.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from pvc.repo.git import INDEX_PREFIX, Git, NoRepositoryError
from pvc.repo.journal import Journal, JournalFile, Writing
from pvc.repo.state import PATHS
from pvc.repo.workers import Crew

if TYPE_CHECKING:
    from pvc.repo.repository import Repository
    from pvc.repo.target import Target


def position(git: Git) -> tuple[str, str]:
    """Where HEAD stands: branch, or commit if detached, and its commit; "" before the first."""
    commit = git.head() or ""
    return git.branch() or commit, commit


def recover(repository: Repository, crew: Crew | None = None) -> str | None:
    """Finish or undo an operation that was left unfinished; says which, or None.

    The caller holds the repository's lock.

    Raises:
        JournalError: the journal cannot be read.
    """
    file = JournalFile(repository.folder)
    journal = file.read()
    if journal is None:
        return None
    with contextlib.ExitStack() as stack:
        git = _git_of(journal, repository, stack)
        moved = git is not None and position(git) != journal.head_before
        if git is not None:
            git.restart()
            git.remove_locks(file.began())
            _settle_text(git, journal)
        for target in journal.adopted if moved else ():
            repository.targets.save(target)
        if journal.writing is not None:
            _settle_target(repository, journal, journal.writing, moved, crew or Crew())
    for leftover in repository.folder.glob(f"{INDEX_PREFIX}*"):
        leftover.unlink()
    file.end()
    return "finished" if moved else "undone"


def _git_of(journal: Journal, repository: Repository, stack: contextlib.ExitStack) -> Git | None:
    """The working tree the operation ran in, or None if it is gone."""
    if journal.root == repository.root:
        return repository.git
    with contextlib.suppress(NoRepositoryError):
        git = Git(journal.root)
        stack.callback(git.close)
        return git
    return None


def _settle_text(git: Git, journal: Journal) -> None:
    """Bring pvc's files to HEAD, where they still are as one end of the operation had them."""
    ends = {journal.head_before[1]}
    if journal.head_after is not None:
        ends.add(journal.head_after[1])
    if git.head() is not None:
        git.follow_head(PATHS, sorted(ends))


def _settle_target(
    repository: Repository, journal: Journal, writing: Writing, moved: bool, crew: Crew
) -> None:
    if writing.before is None:
        _settle_created(repository, writing)
        return
    done = repository.targets.find(writing.after.path)
    stays = journal.head_after == journal.head_before
    finished = moved or (stays and done is not None and done.tree == writing.after.tree)
    if finished:
        _settle_updated(repository, writing.after, writing.before, crew)
    else:
        _settle_updated(repository, writing.before, writing.after, crew)


def _settle_created(repository: Repository, writing: Writing) -> None:
    """Drop a directory that was not complete, keep one that was."""
    from pvc.repo.contents import content_of, save_target

    path = writing.after.path
    if writing.temporary is not None and writing.temporary.exists():
        shutil.rmtree(writing.temporary)
    elif path.is_dir() and path.stat().st_ino == writing.inode:
        content = content_of(repository, writing.after.tree, writing.after.layout)
        save_target(repository, writing.after, content)


def _settle_updated(repository: Repository, holds: Target, other: Target, crew: Crew) -> None:
    """Bring a target to one of the two states that it was between."""
    from pvc.repo import directory
    from pvc.repo.contents import blocks_of, content_of, save_target

    if not holds.path.is_dir():
        repository.targets.forget(holds.path)
        return
    directory.remove_leftovers(holds.path)
    wanted = content_of(repository, holds.tree, holds.layout)
    between = content_of(repository, other.tree, other.layout)
    with blocks_of(repository, repository.head().config) as blocks:
        directory.update(holds.path, between, wanted, blocks, crew)
    save_target(repository, holds, wanted)
