"""Initialising a repository: the base becomes a tree, and a first commit names it."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo import config, personality
from pvc.repo.blocks import BaseFiles, Blocks
from pvc.repo.build import Built
from pvc.repo.capture import Capture, Goal, capture
from pvc.repo.config import Config
from pvc.repo.git import Git, NoRepositoryError
from pvc.repo.record import Change, check_ready, record
from pvc.repo.repository import FOLDER, Repository
from pvc.weights import Checkpoint, LeftOut
from pvc_store.files import FileStore
from pvc_store.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.repo.workers import Crew


class ExistsError(PvcError):
    """There is a pvc repository already.

    Attributes:
        directory: its top.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(f"{directory} is a pvc repository already.")


class NestedError(PvcError):
    """The directory lies within a git repository, but is not its top.

    Attributes:
        directory: where the repository was to be.
        top: top of the git repository around it.
    """

    def __init__(self, directory: Path, top: Path) -> None:
        self.directory = directory
        self.top = top
        super().__init__(f"{directory} lies within the git repository {top}, below its top.")


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `initialise` made.

    Attributes:
        root: top of the repository.
        config: the base pin.
        commit: the first commit of pvc.
        tensors: number of the base's tensors.
        total_bytes: bytes of the base's tensors.
        stored_bytes: bytes that the store needs for them.
        left_out: files of the base's directory that do not belong to the checkpoint.
    """

    root: Path
    config: Config
    commit: str
    tensors: int
    total_bytes: int
    stored_bytes: int
    left_out: tuple[LeftOut, ...]


def initialise(directory: Path, base: Path, *, by_value: bool, crew: Crew) -> Initialised:
    """Make a repository of a directory, relative to a base.

    Args:
        directory: an existing directory, empty or the top of a git repository.
        base: the checkpoint that everything will be relative to.
        by_value: store the base's bytes; else only `base` holds them.
        crew: who does the work.

    Raises:
        ExistsError: there is a pvc repository already.
        NestedError: the directory lies within a git repository.
        CheckpointError: `base` is no checkpoint that can be read.
    """
    base = Path(os.path.realpath(base))
    checkpoint = Checkpoint.open(base)
    with _fresh(directory) as repository, repository.lock():
        check_ready(repository)
        with repository.store.writing() as writing:
            with Blocks(writing, Tree([]), BaseFiles(str(base))) as blocks:
                captured = capture(checkpoint, blocks, writing, Goal(None, by_value), crew)
            writing.put_tree(captured.tree)
            writing.put_layout(captured.layout)
            stored = writing.stored_bytes
        return _commit(repository, checkpoint, captured, stored, by_value=by_value)


def _commit(
    repository: Repository,
    checkpoint: Checkpoint,
    captured: Capture,
    stored: int,
    *,
    by_value: bool,
) -> Initialised:
    base, root = checkpoint.directory, repository.root
    inside = base.is_relative_to(root)
    pin = Config(
        captured.tree.id,
        captured.layout.id,
        base.relative_to(root).as_posix() if inside else str(base),
        by_value,
    )
    if inside:
        repository.git.exclude(f"/{pin.base_origin}/")
    changes: dict[str, bytes | None] = {
        config.PATH: pin.to_text().encode(),
        personality.PATH: personality.EMPTY.encode(),
    }
    built = Built(pin.base_tree, pin.base_layout)
    state = record(repository, Change(changes, f"Start from the base {base.name}", built))
    return Initialised(
        root,
        pin,
        state.commit,
        len(captured.tree),
        captured.tree.nbytes,
        stored,
        checkpoint.left_out,
    )


@contextlib.contextmanager
def _fresh(directory: Path) -> Iterator[Repository]:
    """A repository without commits of pvc; what was created is removed again on failure."""
    directory = Path(os.path.realpath(directory))
    with contextlib.ExitStack() as on_failure:
        try:
            git = Git(directory)
        except NoRepositoryError:
            git = Git.create(directory)
            on_failure.callback(shutil.rmtree, directory / ".git", ignore_errors=True)
        if git.root.resolve() != directory:
            git.close()
            raise NestedError(directory, git.root)
        if git.read_head(config.PATH) is not None or (directory / config.PATH).exists():
            git.close()
            raise ExistsError(directory)
        folder = git.common / FOLDER
        if not folder.exists():
            on_failure.callback(shutil.rmtree, folder, ignore_errors=True)
        FileStore.create(folder).close()
        with Repository(git) as repository:
            yield repository
        on_failure.pop_all()
