"""Recovery: an operation that was cut short is finished or undone.

HEAD decides.  If it moved, the operation is finished: text files follow HEAD, and the target has
the weights that were verified before HEAD moved.  If it did not, the target goes back to those it
had before.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.parallel import Crew
from pvc.repo.git import Git, NoRepositoryError, remove_indexes
from pvc.repo.history.journal import DirectoryWrite, Journal, JournalFile
from pvc.repo.snapshot import PATHS
from pvc.repo.targets.records import RecordError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from pvc.repo.repository import Repository
    from pvc.repo.targets.directory_record import DirectoryRecord


def position(git: Git) -> tuple[str, str]:
    """Where HEAD stands: branch, or commit if detached, and its commit; "" before the first."""
    commit = git.head() or ""
    return git.branch() or commit, commit


def recover(
    repository: Repository, crew: Crew | None = None, *, failed: bool = False
) -> str | None:
    """Finish or undo an operation that was left unfinished; says which, or None.

    The caller holds the repository's lock.

    Args:
        repository: where.
        crew: threads, and who is shown the progress.
        failed: the operation is one of this process, and failed just now: nobody can have begun to
            use a directory that it made.

    Raises:
        JournalError: the journal cannot be read.
    """
    remove_indexes(repository.folder)
    file = JournalFile(repository.folder)
    journal = file.read()
    if journal is None:
        return None
    with contextlib.ExitStack() as stack:
        git = _git_of(journal, repository, stack)
        moved = git is not None and position(git) != journal.head_before
        if git is not None:
            git.remove_locks(file.began())
            _settle_text(git, journal)
        for target in journal.records if moved else ():
            repository.save_record(target)
        if journal.writing is not None:
            writing, before = journal.writing, journal.writing.before
            finished = moved or _ends_here(repository, journal, writing)
            if before is None:
                _settle_created(repository, writing, drop=failed and not finished)
            else:
                _settle_updated(repository, writing, before, crew or Crew(), finished=finished)
    file.end()
    return "finished" if moved else "undone"


class Journalled:
    """A context for an operation: the journal begins before its block, and ends after it.

    If the block fails, what it has begun is undone at once, or finished if HEAD has moved.

    Args:
        repository: where; the caller holds its lock.
        journal: what the block is about to do.

    Attributes:
        journal: the journal as it is now.
    """

    def __init__(self, repository: Repository, journal: Journal) -> None:
        self._repository = repository
        self._file = JournalFile(repository.folder)
        self.journal = journal

    def amend(self, write: DirectoryWrite) -> None:
        """Write to the journal what has become known of the directory that is written."""
        self.journal = replace(self.journal, writing=write)
        self._file.begin(self.journal)

    def conclude(self) -> None:
        """The last part of the operation, once the block has succeeded."""

    def __enter__(self) -> Self:
        try:
            self._file.begin(self.journal)
        except BaseException:
            self._undo()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._undo()
            return
        try:
            self.conclude()
            self._file.end()
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        with contextlib.suppress(PvcError, OSError):  # if this fails, the next command does it
            recover(self._repository, failed=True)


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
    """Bring pvc's files to HEAD, unless somebody edited them after the operation."""
    ends = {journal.head_before[1]}
    if journal.head_after is not None:
        ends.add(journal.head_after[1])
    if git.head() is not None:
        git.follow_head(PATHS, sorted(ends))


def _ends_here(repository: Repository, journal: Journal, writing: DirectoryWrite) -> bool:
    """Whether HEAD was to stay, and the target's record says already what was to be written."""
    if journal.head_after != journal.head_before:
        return False
    with contextlib.suppress(RecordError):
        found = repository.targets.find(writing.after.path)
        return found is not None and found.tree == writing.after.tree
    return False


def _settle_created(repository: Repository, writing: DirectoryWrite, *, drop: bool) -> None:
    """Drop a directory that was not complete, and keep one that was, unless it is to go."""
    path, temporary = writing.after.path, writing.temporary
    complete = path.is_dir() and path.stat().st_ino == writing.inode
    if complete and drop and temporary is not None:
        path.rename(temporary)  # so that it is removed, whoever has to go on with that
        complete = False
    if temporary is not None and temporary.exists():
        shutil.rmtree(temporary)
    elif complete:
        layout = repository.store.layout(writing.after.layout)
        repository.targets.save(writing.after.stamped(layout))


def _settle_updated(
    repository: Repository,
    writing: DirectoryWrite,
    before: DirectoryRecord,
    crew: Crew,
    *,
    finished: bool,
) -> None:
    """Bring a target to one of the two states that it was between.

    Which base they are relative to, the journal says: HEAD may stand where there is none by now.
    """
    from pvc.repo.targets import directory
    from pvc.repo.trees.blocks import BaseFiles, Blocks

    holds, other = (writing.after, before) if finished else (before, writing.after)
    if not holds.path.is_dir():
        repository.targets.forget(holds.path)
        return
    directory.remove_leftovers(holds.path)
    wanted = repository.content(holds.tree, holds.layout)
    between = repository.content(other.tree, other.layout)
    base = repository.store.tree(writing.base)
    with Blocks(repository.store, base, BaseFiles(writing.base_path)) as blocks:
        directory.update(holds.path, between, wanted, blocks, crew)
    repository.targets.save(holds.stamped(wanted.layout))
