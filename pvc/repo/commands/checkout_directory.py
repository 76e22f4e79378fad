"""Checkout to a directory: a new one appears whole, one that pvc wrote is updated in place.

A new directory is written and verified under another name, and appears by one rename; what has to
be computed for it is written to it at once.  A directory that pvc wrote before is compared with
its record, then only the blocks that differ are written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.commands.checkout import CheckedOut
from pvc.repo.personality.formula import Built
from pvc.repo.snapshot import FOLDERS
from pvc.repo.targets import directory
from pvc.repo.targets.draft import Draft
from pvc.repo.targets.home import Identity
from pvc.repo.targets.open_directory import OpenDirectory
from pvc.repo.targets.weights_file import temporary_beside
from pvc_store import atomic

if TYPE_CHECKING:
    from pvc.repo.commands.checkout_transaction import CheckoutTransaction
    from pvc.repo.personality.config import Config
    from pvc.repo.repository import Repository
    from pvc.repo.targets.directory_record import DirectoryRecord


class ForeignDirectoryError(PvcError):
    """A directory exists, and pvc did not write it.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} exists, and pvc did not write it; it is left untouched.")


class BadPlaceError(PvcError):
    """A directory lies where no target may be, since its files would belong to something else too.

    Attributes:
        path: the directory.
        other: what it lies in, or around.
    """

    def __init__(self, path: Path, other: Path) -> None:
        self.path = path
        self.other = other
        super().__init__(f"{path} cannot be a target: it lies within or around {other}.")


class CopiedRepositoryError(PvcError):
    """Directories were written by the repository that this one is a copy of.

    Attributes:
        paths: the directories.
    """

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        listed = ", ".join(map(str, paths))
        super().__init__(
            f"This repository is a copy, and {listed} was written by the one that it was copied "
            "from; it is left untouched."
        )


class MovedError(PvcError):
    """The only target is not there, and the repository was moved since it was written.

    Attributes:
        path: where the target was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} is gone, and the repository was moved since pvc wrote it.")


class SeveralTargetsError(PvcError):
    """The repository has several targets, and none was named.

    Attributes:
        paths: the directories that pvc has written.
    """

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        listed = ", ".join(map(str, paths))
        super().__init__(f"The repository has several targets, and none was named: {listed}.")


@dataclass(frozen=True, slots=True)
class DirectoryTarget:
    """A directory that weights are checked out to.

    Attributes:
        path: the directory; None stands for the only target there is, of several for the only one
            that still exists.  Without any, HEAD alone moves.
    """

    path: Path | None = None

    def write(self, transaction: CheckoutTransaction) -> CheckedOut:
        """Create or update the directory.

        Raises:
            ForeignDirectoryError: the directory is not pvc's.
            BadPlaceError: it lies within git's, the base's, or another target.
            DriftedError, ReplacedError, LinkError: it was changed since pvc wrote it.
            CopiedRepositoryError, MovedError: pvc wrote it in another place.
            SeveralTargetsError: none was named, and there are several.
            RecordError: the directory's record is malformed; any record, if none was named.
        """
        repository = transaction.repository
        path = _path(repository, self.path)
        if path is None:
            return _only_head(transaction)
        _check_place(repository, transaction.config, path)
        record = repository.targets.find(path)
        if record is None or not path.is_dir() or not any(path.iterdir()):
            return _create(transaction, path)
        return _update(transaction, replace(record, home=repository.home))


def _path(repository: Repository, to: Path | None) -> Path | None:
    targets = repository.targets
    others = [record.path for record in targets.of_others()]
    if to is not None:
        path = Path(os.path.realpath(to))
        if path in others and os.path.lexists(path):
            raise CopiedRepositoryError((path,))
        return path
    for error in targets.malformed():  # which may be of the only target
        raise error
    records = targets.all()
    there = [record for record in records if os.path.lexists(record.path)] or records
    if len(there) > 1:
        raise SeveralTargetsError(tuple(record.path for record in there))
    if not there and others:
        raise CopiedRepositoryError(tuple(others))
    if there and there[0].home.path != repository.home.path and not there[0].path.exists():
        raise MovedError(there[0].path)
    return there[0].path if there else None


def _check_place(repository: Repository, config: Config, path: Path) -> None:
    git = repository.git
    within = [git.directory.resolve(), git.common, *(git.root / name for name in FOLDERS)]
    for other in within:
        if _lies_within(path, other):
            raise BadPlaceError(path, other)
    if _lies_within(git.root, path):
        raise BadPlaceError(path, git.root)
    base = Path(os.path.realpath(git.root / config.base_path))
    for other in (base, *(target.path for target in repository.targets.all())):
        nested = _lies_within(path, other) or _lies_within(other, path)
        if path != other and nested and other.is_dir():
            raise BadPlaceError(path, other)


def _lies_within(path: Path, other: Path) -> bool:
    """Whether a path is a directory or lies in it; also by a bind mount, which has two names."""
    found = Identity.of(other)
    return path.is_relative_to(other) or (
        found is not None and any(Identity.of(one) == found for one in (path, *path.parents))
    )


def _only_head(transaction: CheckoutTransaction) -> CheckedOut:
    built = transaction.find()
    with transaction.begin():
        pass
    return CheckedOut(transaction.revision, built, transaction.moves)


def _create(transaction: CheckoutTransaction, path: Path) -> CheckedOut:
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise ForeignDirectoryError(path)
    repository, revision = transaction.repository, transaction.revision
    atomic.make_directory(path.parent)
    if path.is_relative_to(repository.root):
        repository.git.exclude(path)
    temporary = Path(temporary_beside(str(path)))
    write = transaction.directory_write(path, revision.formula.start, None)  # until it is known
    with transaction.begin(replace(write, temporary=temporary)) as journal:
        temporary.mkdir()
        with OpenDirectory(temporary) as inside:
            after = replace(write.after, identity=inside.identity)
            journal.amend(replace(write, after=after, temporary=temporary))
            draft = Draft(inside)
            built = transaction.build(draft.begin)
            write = transaction.directory_write(path, built, inside.identity)
            journal.amend(replace(write, temporary=temporary))
            content = repository.content(built.tree, built.layout)
            with repository.blocks(transaction.config) as blocks:
                stamps = directory.create(inside, content, blocks, transaction.crew, draft.written)
            after = replace(write.after, stamps=stamps)
            journal.amend(replace(write, after=after, temporary=temporary))
            temporary.replace(path)
        atomic.sync_directory(path.parent)
    written = sum(file.size for file in content.files)
    return CheckedOut(revision, built, transaction.moves, written, path, created=True)


def _update(transaction: CheckoutTransaction, record: DirectoryRecord) -> CheckedOut:
    repository, config, crew = transaction.repository, transaction.config, transaction.crew
    built = transaction.find()
    before = repository.content(record.tree, record.layout)
    after = repository.content(built.tree, built.layout)
    with OpenDirectory(record.path) as inside:
        with repository.blocks(config) as blocks:
            directory.check_undrifted(inside, record, before, blocks, crew)
        directory.check_free(record.path, before, after)
        if built != Built(record.tree, record.layout):
            transaction.builds.restore(record.tree)  # so that the directory can go back to it
            transaction.build()
        write = transaction.directory_write(record.path, built, inside.identity, record)
        with repository.blocks(config) as blocks:
            if not config.by_value:  # a block that is missing now could not be undone either
                directory.check_readable(before, after, blocks, crew)
            # once more: all this may have taken long
            stamps = directory.check_undrifted(inside, record, before, blocks, crew)
            with transaction.begin(write) as journal:
                written = directory.update(inside, before, after, blocks, crew)
                kept = after.paths() & stamps.keys()
                stamps = {path: stamps[path] for path in kept} | dict(written)
                journal.amend(replace(write, after=replace(write.after, stamps=stamps)))
    nbytes = directory.difference(before, after)
    return CheckedOut(transaction.revision, built, transaction.moves, nbytes, record.path)
