"""A repository: a git working tree, and the store beside its history.

<git common dir>/pvc/          the store (see store/README.md), and of this room:
  targets/<name>.json          records of directories that pvc has written
  targets/engines/<name>.json  records of engines
  journal.json                 the operation that is under way
  repository.lock              lock of the process that changes refs, text files or targets
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.git import Git, NoRepositoryError, UnfinishedError
from pvc.repo.personality import config
from pvc.repo.snapshot import PATHS, PATTERNS, Snapshot
from pvc.wording import shown
from pvc_store.errors import DamageError, LockedError, MissingError
from pvc_store.lock import hold, holder_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

    from pvc.repo.personality.config import Config
    from pvc.repo.targets.directory import Content
    from pvc.repo.targets.directory_record import DirectoryRecord, DirectoryRecords
    from pvc.repo.targets.engine_record import EngineRecord, EngineRecords
    from pvc.repo.targets.home import Home
    from pvc.repo.trees.blocks import Blocks
    from pvc.repo.trees.norms import Norms
    from pvc_store.files import FileStore
    from pvc_store.layout import Layout
    from pvc_store.store import StoreReader
    from pvc_store.tree import Tree

FOLDER = "pvc"
LOCK_WAIT_SECONDS = 5.0
SILENT_SECONDS = 1.0


class EditedError(PvcError):
    """Files of the personality were edited and not committed.

    Attributes:
        paths: which ones, relative to the repository.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        super().__init__(f"There are uncommitted edits: {shown(paths)}.")


class NoStoreError(PvcError):
    """A clone has pvc's files, and not the weights.

    Attributes:
        root: top of the working tree.
        folder: where the store would be.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        super().__init__(f"{root} has no store: git does not transfer weights.")


@dataclass(frozen=True, slots=True)
class Patience:
    """How the lock of a repository is waited for.

    Attributes:
        seconds: the longest time.
        holder: how this process is named to others that wait meanwhile; "" is its number alone.
        told: is told why it waits, a sentence; once, and after a moment.
    """

    seconds: float
    holder: str = ""
    told: Callable[[str], None] = lambda _: None


class Repository:
    """An open repository; use it as a context.

    Args:
        git: the working tree.
        patience: how its lock is waited for.
        need_store: open it only with a store; history and personality can be read without one.

    Attributes:
        git: the working tree.
        folder: the store's.
        notices: what was found wrong and did not stop an operation; to be shown to the user.

    Raises:
        NoRepositoryError: pvc was never initialised there.
        NoStoreError: it is a clone that has no store.
    """

    def __init__(
        self, git: Git, *, patience: Patience | None = None, need_store: bool = True
    ) -> None:
        self.git = git
        self.patience = patience or Patience(LOCK_WAIT_SECONDS)
        self.folder = git.common / FOLDER
        self.notices: list[PvcError] = []
        if self.has_store:
            return
        try:
            if not (git.root / config.PATH).exists() and git.read_head(config.PATH) is None:
                raise NoRepositoryError(git.root, "run pvc init first")
            missing = NoStoreError(git.root, self.folder)
            if need_store:
                raise missing
            self.notices.append(missing)
        except BaseException:
            git.close()
            raise

    @classmethod
    def open(
        cls, directory: Path, *, patience: Patience | None = None, need_store: bool = True
    ) -> Repository:
        """The repository that holds `directory`; raises as its initialiser."""
        return cls(Git(directory), patience=patience, need_store=need_store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store and end git's processes."""
        if "store" in self.__dict__:
            self.store.close()
        self.git.close()

    @property
    def has_store(self) -> bool:
        """Whether there is a store."""
        return (self.folder / "format").exists()

    @property
    def root(self) -> Path:
        """Top of the working tree."""
        return self.git.root

    @cached_property
    def home(self) -> Home:
        """Which repository it is: what its records and journal belong to."""
        from pvc.repo.targets.home import Home

        return Home.at(self.git.common)

    @cached_property
    def store(self) -> FileStore:
        """The object store."""
        from pvc_store.files import FileStore

        return FileStore(self.folder)

    @property
    def targets(self) -> DirectoryRecords:
        """The directories that pvc has written."""
        from pvc.repo.targets.directory_record import DirectoryRecords

        return DirectoryRecords(self.folder / "targets", self.home)

    @property
    def engines(self) -> EngineRecords:
        """The engines that pvc has written to, or read."""
        from pvc.repo.targets.engine_record import EngineRecords

        return EngineRecords(self.folder / "targets" / "engines", self.home)

    def save_record(self, record: DirectoryRecord | EngineRecord) -> None:
        """Record what a directory or an engine holds."""
        from pvc.repo.targets.directory_record import DirectoryRecord

        if isinstance(record, DirectoryRecord):
            self.targets.save(record)
        else:
            self.engines.save(record)

    def find_tree(self, tree: bytes) -> Tree | None:
        """A tree of the store, or None if it is missing or damaged."""
        try:
            return self.store.tree(tree)
        except (MissingError, DamageError):
            return None

    def find_layout(self, layout: bytes) -> Layout | None:
        """A layout of the store, or None if it is missing or damaged."""
        try:
            return self.store.layout(layout)
        except (MissingError, DamageError):
            return None

    def blocks(self, config: Config, reading: StoreReader | None = None) -> Blocks:
        """Raw blocks of stored trees.

        Args:
            config: names the base that they are relative to.
            reading: a running change to the store, whose blocks are seen too; None reads the store.
        """
        from pvc.repo.trees.blocks import BaseFiles, Blocks

        files = BaseFiles(self.root / config.base_path)
        return Blocks(reading or self.store, self.store.tree(config.base_tree), files)

    def content(self, tree: bytes, layout: bytes) -> Content:
        """What a directory of this tree and layout holds."""
        from pvc.repo.targets.directory import Content

        return Content(self.store.tree(tree), self.store.layout(layout))

    @property
    def norms(self) -> Norms:
        """How large the tensors of known trees are."""
        from pvc.repo.trees.norms import Norms

        return Norms(self.folder)

    def head(self) -> Snapshot:
        """The snapshot at HEAD.

        Raises:
            NoRepositoryError: there is no commit yet.
            GitError: git refuses to look.
        """
        commit = self.git.head()
        if commit is None:
            self.git.ask("rev-parse", "--git-dir")  # git may refuse it: another user owns it
            raise NoRepositoryError(self.root, "its branch has no commit yet")
        return Snapshot(self.git, commit)

    def edited(self) -> tuple[str, ...]:
        """Pvc's own files that differ from HEAD."""
        return tuple(self.git.edited(PATHS))

    def check_clean(self) -> None:
        """Make sure that nothing of pvc's is edited and git is not in the middle of something.

        Raises:
            UnfinishedError: of a merge, rebase, or the like.
            EditedError: pvc's own files differ from HEAD.
            LockedError: another git command is at work.
        """
        self.git.check_unlocked()
        operation = self.git.unfinished()
        if operation:
            raise UnfinishedError(operation)
        edited = self.edited()
        if edited:
            raise EditedError(edited)

    @property
    def _lock_file(self) -> Path:
        return self.folder / "repository.lock"

    def busy(self) -> str | None:
        """The process that holds the lock, as it calls itself; None if none does."""
        return holder_of(self._lock_file)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody else changes refs, text files or targets while the block runs.

        Raises:
            LockedError: another process is doing so.
        """
        with self._held():
            self.git.keep_plain(PATTERNS, PATHS)
            yield

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        name = f" ({self.patience.holder})" if self.patience.holder else ""
        take = functools.partial(
            hold, self._lock_file, exclusive=True, holder=f"process {os.getpid()}{name}"
        )
        silent = min(self.patience.seconds, SILENT_SECONDS)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(take(wait=silent))
            except LockedError as error:
                rest = self.patience.seconds - silent
                if rest <= 0:
                    raise
                self.patience.told(str(error))
                stack.enter_context(take(wait=rest))
            yield
