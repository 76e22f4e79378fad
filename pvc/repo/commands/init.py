"""`pvc init`: the base becomes a tree, and a first commit names it."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.git import Git, NoRepositoryError, UnfinishedError
from pvc.repo.history.recording import PendingCommit, check_ready, record
from pvc.repo.personality import config, personality_file
from pvc.repo.personality.config import Config
from pvc.repo.personality.formula import Built
from pvc.repo.repository import FOLDER, Repository
from pvc.repo.targets.directory import InTheWayError
from pvc.repo.trees.blocks import BaseFiles, Blocks
from pvc.repo.trees.capture import CaptureOptions, capture
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.folder import FileNameError, LeftOut
from pvc_store.files import FileStore
from pvc_store.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.parallel import Crew
    from pvc.repo.snapshot import Snapshot
    from pvc.repo.trees.statistics import Capture


class ExistsError(PvcError):
    """There is a pvc repository already.

    Attributes:
        directory: its top.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(f"{directory} is a pvc repository already.")


class BaseAroundError(PvcError):
    """The base's directory is the repository's, or lies around it.

    Attributes:
        base: the base's directory.
        directory: where the repository was to be.
    """

    def __init__(self, base: Path, directory: Path) -> None:
        self.base = base
        self.directory = directory
        super().__init__(
            f"{directory} lies within the base {base}; what pvc writes there would be part of it."
        )


@dataclass(frozen=True, slots=True)
class Initialised:
    """A new repository.

    Attributes:
        root: top of the repository.
        config: the base pin.
        commit: the first commit of pvc.
        tensors: number of the base's tensors.
        total_bytes: bytes of the base's tensors.
        stored_bytes: bytes that the store needs for them.
        left_out: files of the base's directory that do not belong to the checkpoint.
        notes: what else is to be known about the base, each a phrase.
    """

    root: Path
    config: Config
    commit: str
    tensors: int
    total_bytes: int
    stored_bytes: int
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def initialise(directory: Path, base: Path, *, by_value: bool, crew: Crew) -> Initialised:
    """Make a repository of a directory, relative to a base.

    Args:
        directory: an existing directory, empty or the top of a git repository.
        base: the checkpoint that everything will be relative to.
        by_value: store the base's bytes; else only `base` holds them.
        crew: threads, and who is shown the progress.

    Raises:
        ExistsError: there is a pvc repository already.
        NoRepositoryError: what is called .git there is no git repository.
        InTheWayError: a file has the name of one of pvc's.
        BaseAroundError: the directory lies within the base's, or is the same.
        UnfinishedError: git is in the middle of something.
        CheckpointError: `base` is no checkpoint that can be read.
    """
    base, directory = Path(os.path.realpath(base)), Path(os.path.realpath(directory))
    if directory.is_relative_to(base):
        raise BaseAroundError(base, directory)
    if os.fsencode(base).decode(errors="replace") != str(base):
        raise FileNameError(base.parent, base.name)  # pvc.toml could not say where the base is
    checkpoint = Checkpoint.open(base)
    with _fresh(directory) as repository:
        before = check_ready(repository)
        with repository.store.writing() as writing:
            with Blocks(writing, Tree([]), BaseFiles(base)) as blocks:
                goal = CaptureOptions(None, keep_tensors=by_value)
                captured = capture(checkpoint, blocks, writing, goal, crew)
            writing.put_tree(captured.tree)
            writing.put_layout(captured.layout)
            stored = writing.stored_bytes
        squares = {one.tensor.name: one.change.base_square for one in captured.tensors}
        repository.norms.write(captured.tree, squares)
        pin = _pin(repository.root, base, captured, by_value=by_value)
        state = _commit(repository, pin, base, before)
        tree = captured.tree
        return Initialised(
            repository.root,
            pin,
            state.commit,
            len(tree),
            tree.nbytes,
            stored,
            checkpoint.left_out,
            checkpoint.notes,
        )


def _pin(root: Path, base: Path, captured: Capture, *, by_value: bool) -> Config:
    inside = base.is_relative_to(root)
    origin = base.relative_to(root).as_posix() if inside else str(base)
    return Config(captured.tree.id, captured.layout.id, origin, by_value)


def _commit(repository: Repository, pin: Config, base: Path, before: tuple[str, str]) -> Snapshot:
    if base.is_relative_to(repository.root):
        repository.git.exclude(base)
    changes: dict[str, bytes | None] = {
        config.PATH: pin.to_text().encode(),
        personality_file.PATH: personality_file.EMPTY.encode(),
    }
    built = Built(pin.base_tree, pin.base_layout)
    return record(repository, PendingCommit(before, changes, f"Start from {base.name}", built))


@contextlib.contextmanager
def _fresh(directory: Path) -> Iterator[Repository]:
    """A locked repository without commits of pvc; if it gets none, what was created goes again."""
    with contextlib.ExitStack() as created:
        if not (directory / ".git").exists():
            created.callback(shutil.rmtree, directory / ".git", ignore_errors=True)
        git = Git.create(directory)  # whatever repository lies around
        with contextlib.closing(git):
            _check_new(git, directory)
            folder = git.common / FOLDER
            if not folder.exists():
                created.callback(shutil.rmtree, folder, ignore_errors=True)
            FileStore.create(folder).close()
            undo = created.pop_all()  # only who holds the lock may remove anything
            with Repository(git) as repository, repository.lock():
                _check_new(git, directory)  # somebody else may have been faster
                try:
                    yield repository
                except BaseException:
                    if git.read_head(config.PATH) is None:
                        undo.close()
                    raise


def _check_new(git: Git, directory: Path) -> None:
    if git.root.resolve() != directory:
        raise NoRepositoryError(directory, "its .git is not one of git's, or of another directory")
    if git.read_head(config.PATH) is not None or (directory / config.PATH).exists():
        raise ExistsError(directory)
    if (
        git.read_head(personality_file.PATH) is not None
        or (directory / personality_file.PATH).exists()
    ):
        raise InTheWayError(directory / personality_file.PATH)
    operation = git.unfinished()
    if operation:
        raise UnfinishedError(operation)
