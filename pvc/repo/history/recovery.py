"""Recovery: an operation that was cut short is finished or undone.

HEAD decides.  If it moved, the operation is finished: text files follow HEAD, and the target has
the weights that were verified before HEAD moved.  If it did not, the target goes back to those it
had before.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.parallel import Crew
from pvc.repo.git import Git, NoRepositoryError, remove_indexes
from pvc.repo.history.journal import DirectoryWrite, Journal, JournalFile
from pvc.repo.snapshot import PATHS
from pvc.repo.targets.home import Home, Identity
from pvc.repo.targets.open_directory import LinkError, ReplacedError
from pvc.repo.targets.records import RecordError
from pvc.repo.targets.weights_file import is_temporary_of
from pvc.wording import agreeing, shown

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from pvc.repo.repository import Repository
    from pvc.repo.targets.directory import Content
    from pvc.repo.targets.directory_record import DirectoryRecord
    from pvc.repo.targets.open_directory import OpenDirectory
    from pvc.repo.trees.blocks import Blocks
    from pvc.weights.fingerprint import Fingerprint


class StrangeError(PvcError):
    """A directory that was being written holds weights that pvc did not write.

    Attributes:
        names: the tensors and files; none if it is being written to right now.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        told = (
            f"{shown(names)} {agreeing(len(names), 'was', 'were')} written"
            if names
            else "files are written"
        )
        super().__init__(f"{told} by somebody else")


class UnsettledError(PvcError):
    """A checkout that was cut short can be neither finished nor undone.

    Attributes:
        path: the directory that it was writing, which is left as it is.
        reason: why.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason.rstrip(".")
        super().__init__(
            f"A checkout to {path} was cut short, and is neither finished nor undone: "
            f"{self.reason}. The directory is left as it is."
        )


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
    file = JournalFile(repository)
    journal = file.read()
    if journal is None:
        return None
    here = journal.home.is_same(repository.home)
    with contextlib.ExitStack() as stack:
        git = _git_of(journal, repository, stack)
        moved = git is not None and position(git) != journal.head_before
        if git is not None:
            git.remove_locks(file.began())
            _settle_text(git, journal)
        for record in journal.records if moved and here else ():
            repository.save_record(record)
        if journal.writing is not None and not here:
            path = journal.writing.after.path
            repository.notices.append(UnsettledError(path, "it belongs to another repository"))
        elif journal.writing is not None:
            writing, before = journal.writing, journal.writing.before
            finished = moved or _ends_here(repository, journal, writing)
            if before is None:
                _settle_created(repository, writing, drop=failed and not finished)
            else:
                holds = writing.after if finished else before
                target = _Unsettled(repository, writing, before, holds, failed)
                _settle_updated(target, crew or Crew())
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
        self._file = JournalFile(repository)
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
        except BaseException as error:
            self._undo(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._undo(error)
            return
        try:
            self.conclude()
            self._file.end()
        except BaseException as failure:
            self._undo(failure)
            raise

    def _undo(self, error: BaseException) -> None:
        """Undo or finish the operation, and note on its error if HEAD has moved all the same."""
        with contextlib.suppress(PvcError, OSError):  # if this fails, the next command does it
            recover(self._repository, failed=True)
        with contextlib.suppress(PvcError, OSError):
            head = position(self._repository.git)
            if head != self.journal.head_before:
                error.add_note(f"HEAD is at {head[1][:10]} all the same: the operation is done.")


def _git_of(journal: Journal, repository: Repository, stack: contextlib.ExitStack) -> Git | None:
    """The working tree the operation ran in, or None if it is gone, or another repository's."""
    if journal.root == repository.root:
        return repository.git
    with contextlib.suppress(NoRepositoryError):
        git = Git(journal.root)
        stack.callback(git.close)
        return git if Home.at(git.common).is_same(repository.home) else None
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
    """Drop a directory that was not complete, and keep one that was, unless it is to go.

    What was changed in it since shows by its stamps.
    """
    after, temporary = writing.after, writing.temporary
    complete = after.is_there()
    if complete and drop and temporary is not None:
        after.path.rename(temporary)  # so that it is removed, whoever has to go on with that
        complete = False
    if complete:
        repository.targets.save(after)
    elif temporary is not None and _is_beside(temporary, after.path):
        _remove_temporary(temporary, after.identity)


def _is_beside(temporary: Path, path: Path) -> bool:
    return temporary.parent == path.parent and is_temporary_of(temporary.name, path.name)


def _remove_temporary(path: Path, identity: Identity | None) -> None:
    """Remove what was to become a directory, if it is the one that was made; or an empty one."""
    found = Identity.of(path)
    if identity is None:
        with contextlib.suppress(OSError):
            path.rmdir()
    elif found is not None and found.inode == identity.inode:
        shutil.rmtree(path)


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """A target whose update was cut short.

    Attributes:
        repository: whose it is.
        writing: the update.
        before: its record before.
        holds: the one of both records that is to be true.
        failed: the update failed in this process just now.
    """

    repository: Repository
    writing: DirectoryWrite
    before: DirectoryRecord
    holds: DirectoryRecord
    failed: bool

    def bring(self, crew: Crew) -> Fingerprint:
        """Write what the target lacks, and give the stamps of its files.

        Which base its blocks are relative to, the journal says: HEAD may stand where there is none
        by now.

        Raises:
            ReplacedError, LinkError, StrangeError: it holds something else than the two states.
        """
        from pvc.repo.targets import directory
        from pvc.repo.targets.open_directory import OpenDirectory
        from pvc.repo.trees.blocks import BaseFiles, Blocks

        repository, writing, holds = self.repository, self.writing, self.holds
        other = self.before if holds is writing.after else writing.after
        wanted, between = (repository.content(one.tree, one.layout) for one in (holds, other))
        paths = wanted.paths() | between.paths()
        base = repository.store.tree(writing.base)
        with (
            OpenDirectory(self.before.path) as inside,
            Blocks(repository.store, base, BaseFiles(writing.base_path)) as blocks,
        ):
            if not self.before.is_of(inside.identity) or not repository.targets.knows(holds.path):
                raise ReplacedError(holds.path, "another directory")
            if holds.stamps and not directory.changed(inside, holds, wanted.paths()):
                return holds.stamps
            stamps = inside.stamps(paths)
            self._check(inside, (wanted, between), blocks, crew)
            if inside.stamps(paths) != stamps:
                raise StrangeError(())
            directory.remove_leftovers(inside, paths)
            written = directory.update(inside, between, wanted, blocks, crew)
        return {path: stamps[path] for path in wanted.paths() & stamps.keys()} | dict(written)

    def _check(
        self,
        inside: OpenDirectory,
        contents: tuple[Content, Content],
        blocks: Blocks,
        crew: Crew,
    ) -> None:
        """Make sure that the target holds nothing but blocks of its two states."""
        from pvc.repo.targets.directory import changed
        from pvc.repo.targets.mixture import Mixture

        paths = contents[0].paths() | contents[1].paths()
        mixture = Mixture(inside, contents, blocks, crew, self.failed)
        names = mixture.strange(changed(inside, self.before, paths))
        if names:
            raise StrangeError(names)


def _settle_updated(target: _Unsettled, crew: Crew) -> None:
    """Bring a target to one of the two states that it was between.

    If it is not between them, somebody else wrote to it: it is left as it is, and is no target any
    more.
    """
    repository, path = target.repository, target.before.path
    try:
        stamps = target.bring(crew)
    except (ReplacedError, LinkError, StrangeError) as error:
        repository.targets.forget(path)
        repository.notices.append(UnsettledError(path, str(error)))
        return
    identity = target.before.identity
    repository.targets.save(replace(target.holds, identity=identity, stamps=stamps))
