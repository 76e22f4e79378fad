"""Checkout: a revision's weights go to a directory, then HEAD moves.

The directory is written first and verified; HEAD moves last.  A new directory appears by one
rename; what has to be computed for it is written to it at once.  A directory that pvc wrote is
updated in place, under the journal.  Whatever goes wrong in between, the directory goes back to
what it held.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.commands.checkout_step import step_of
from pvc.repo.personality.formula import Built
from pvc.repo.snapshot import FOLDERS
from pvc.repo.targets import directory
from pvc.repo.targets.draft import Draft
from pvc.repo.targets.weights_file import TEMPORARY
from pvc_store import atomic

if TYPE_CHECKING:
    from pvc.parallel import Crew
    from pvc.repo.commands.checkout_step import CheckoutStep
    from pvc.repo.history.journal import DirectoryWrite
    from pvc.repo.history.revision import Revision
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


class SeveralTargetsError(PvcError):
    """More than one directory could be meant.

    Attributes:
        paths: the directories that pvc has written.
    """

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        listed = ", ".join(map(str, paths))
        super().__init__(f"The repository has several targets, and none was named: {listed}.")


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """What a checkout did.

    Attributes:
        revision: what was asked for.
        built: its tree and layout.
        directory: where it was written, or None.
        created: whether the directory is new.
        written_bytes: bytes of the blocks that differed.
        head_moved: whether HEAD stands somewhere else now.
    """

    revision: Revision
    built: Built
    directory: Path | None
    created: bool
    written_bytes: int
    head_moved: bool


def checkout(
    repository: Repository, text: str, to: Path | None, *, keep_head: bool, crew: Crew
) -> CheckedOut:
    """Check a revision out.

    Args:
        repository: where.
        text: a revision, a vector, or the base; HEAD moves for a revision only.
        to: the directory; None stands for the only target, if there is one; of several, for the
            only one that still exists.
        keep_head: leave HEAD where it is.
        crew: who does the work.

    Raises:
        ForeignDirectoryError: the directory is not pvc's.
        BadPlaceError: it lies within git's, the base's, or another target.
        DriftedError: it was changed since pvc wrote it.
        SeveralTargetsError: none was named, and there are several.
        TargetError: the record of the directory, or of any that could be meant, is malformed.
        EditedError: HEAD would move away from edits.
    """
    with step_of(repository, text, keep_head=keep_head) as step:
        path = _where(repository, to)
        if path is None:
            return _only_head(step, crew)
        config = step.revision.state.config
        _check_place(repository, config, path)
        target = repository.targets.find(path)
        if target is None or not path.is_dir() or not any(path.iterdir()):
            return _create(step, path, crew)
        step.identify(crew)
        return _update(step, target, crew)


def _where(repository: Repository, to: Path | None) -> Path | None:
    if to is not None:
        return Path(os.path.realpath(to))
    for error in repository.targets.malformed():  # it may be the one that is meant
        raise error
    known = tuple(target.path for target in repository.targets.all())
    there = tuple(path for path in known if path.is_dir()) or known
    if len(there) > 1:
        raise SeveralTargetsError(there)
    return there[0] if there else None


def _check_place(repository: Repository, config: Config, path: Path) -> None:
    git = repository.git
    within = [git.directory.resolve(), git.common, *(git.root / name for name in FOLDERS)]
    for other in within:
        if path.is_relative_to(other):
            raise BadPlaceError(path, other)
    if git.root.is_relative_to(path):
        raise BadPlaceError(path, git.root)
    base = Path(os.path.realpath(git.root / config.base_origin))
    for other in (base, *(target.path for target in repository.targets.all())):
        nested = path.is_relative_to(other) or other.is_relative_to(path)
        if path != other and nested and other.is_dir():
            raise BadPlaceError(path, other)


def _only_head(step: CheckoutStep, crew: Crew) -> CheckedOut:
    step.identify(crew)
    step.journalled(lambda: step.begin(None))
    return CheckedOut(step.revision, step.built, None, False, 0, step.moves)


def _create(step: CheckoutStep, path: Path, crew: Crew) -> CheckedOut:
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise ForeignDirectoryError(path)
    repository = step.repository
    atomic.make_directory(path.parent)
    temporary = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex}{TEMPORARY}")

    def write() -> DirectoryWrite:
        step.begin(replace(step.writing(path, None), temporary=temporary))
        temporary.mkdir()
        draft = Draft(temporary)
        step.build(crew, draft.begin)
        inode = temporary.stat().st_ino
        writing = replace(step.writing(path, None), temporary=temporary, inode=inode)
        step.begin(writing)
        with repository.blocks(step.config) as blocks:
            directory.create(temporary, step.content(), blocks, crew, draft.written)
        temporary.replace(path)
        atomic.sync_directory(path.parent)
        return writing

    _hide_from_git(repository, path)
    step.journalled(write)
    written = sum(file.size for file in step.content().files)
    return CheckedOut(step.revision, step.built, path, True, written, step.moves)


def _update(step: CheckoutStep, target: DirectoryRecord, crew: Crew) -> CheckedOut:
    repository, config = step.repository, step.config
    before = repository.content(target.tree, target.layout)
    after = step.content()
    with repository.blocks(config) as blocks:
        directory.check_undrifted(target, before, blocks, crew)
    directory.check_free(target.path, before, after)
    if step.built != Built(target.tree, target.layout):
        Builds(repository, config, crew).restore(target.tree)  # so that it can be had back
        step.build(crew)
    with repository.blocks(config) as blocks:
        directory.check_undrifted(
            target, before, blocks, crew
        )  # building and keeping may have taken long
        if not config.by_value:  # what is overwritten could not be had back either
            directory.check_readable(before, after, blocks, crew)

        def write() -> DirectoryWrite:
            writing = step.writing(target.path, target)
            step.begin(writing)
            directory.update(target.path, before, after, blocks, crew)
            return writing

        step.journalled(write)
    written = directory.difference(before, after)
    return CheckedOut(step.revision, step.built, target.path, False, written, step.moves)


def _hide_from_git(repository: Repository, path: Path) -> None:
    if path.is_relative_to(repository.root):
        repository.git.exclude(path)
