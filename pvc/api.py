"""The interface for Python programs: a repository, its directories, and its engines.

    repository = pvc.open(".")
    repository.checkout("main", engine="chat")
    repository.commit("listening", engine="chat")
    repository.verify("chat").drifted
    repository.checkout("HEAD~1", engine="chat")

Every method does what the command of its name does, and raises its errors.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack

from pvc.parallel import Crew
from pvc.repo.repository import Repository

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from pvc.errors import PvcError
    from pvc.live import Connection
    from pvc.live.commands.restore import Restored
    from pvc.live.commands.status import EngineStatus
    from pvc.live.commands.verify import Verified
    from pvc.repo.commands.checkout import CheckedOut, Target
    from pvc.repo.commands.commit import Committed
    from pvc.repo.commands.commit_source import CommitSource
    from pvc.repo.commands.status import Status

    AnyPath = str | os.PathLike[str]
    Engine = str | Literal[True]
    """An engine's name; True stands for the only one that runs, or that the repository knows."""


@contextlib.contextmanager
def checkout_target(
    repository: Repository, to: Path | None, engine: Engine | None, *, force: bool = False
) -> Iterator[Target]:
    """Where a checkout goes: to an engine if one is named, else to a directory.

    Args:
        repository: where.
        to: the directory; None stands for the only target there is.
        engine: the engine.
        force: overwrite what an engine holds and no commit does, after keeping it.
    """
    if engine is None:
        from pvc.repo.commands.checkout_directory import DirectoryTarget

        yield DirectoryTarget(to)
        return
    from pvc.live.commands.checkout import EngineTarget
    from pvc.live.commands.choice import await_turn

    with _connect(repository, engine) as connection:
        await_turn(repository, connection)
        yield EngineTarget(connection, force)


@contextlib.contextmanager
def commit_source(
    repository: Repository, path: Path | None, engine: Engine | None
) -> Iterator[CommitSource]:
    """Where a training result is: in an engine if one is named, else in a checkpoint.

    Args:
        repository: where.
        path: directory of the checkpoint.
        engine: the engine.

    Raises:
        ValueError: neither was named.
    """
    if engine is None:
        from pvc.repo.commands.commit_source import CheckpointSource

        if path is None:
            raise ValueError("a commit needs a checkpoint or an engine")
        yield CheckpointSource(path)
        return
    from pvc.live.commands.commit import EngineSource

    with _connect(repository, engine) as connection:
        yield EngineSource(connection)


def open_repository(directory: AnyPath = ".", crew: Crew | None = None) -> OpenRepository:
    """The repository that holds a directory.

    Args:
        directory: somewhere within it.
        crew: does long work; None uses all processors and shows no progress.

    Raises:
        NoRepositoryError: there is none.
    """
    return OpenRepository(Repository.open(Path(directory).resolve()), crew or Crew())


class How(TypedDict, total=False):
    """How a training result is to be committed.

    Attributes:
        message: the commit message; without it pvc words it.
        onto: what it was trained from, as a revision; without it pvc finds out.
        aside: store it, but leave the personality as it is.
        allow_nonfinite: accept NaN and Inf.
    """

    message: str
    onto: str
    aside: bool
    allow_nonfinite: bool


class HowToWrite(TypedDict, total=False):
    """How weights are checked out.

    Attributes:
        keep_head: leave HEAD where it is.
        force: overwrite what an engine holds and no commit does, after keeping it.
        dtype: "base", or its only float dtype: round what was committed in wider floats.
        allow_nonfinite: accept Inf and NaN where a sum overflows.
    """

    keep_head: bool
    force: bool
    dtype: str
    allow_nonfinite: bool


class OpenRepository:
    """A repository that `pvc.open` found; close it, or use it as a context.

    Args:
        repository: the repository.
        crew: does long work.
    """

    def __init__(self, repository: Repository, crew: Crew) -> None:
        self._repository = repository
        self._crew = crew

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its files, and end git's processes."""
        self._repository.close()

    @property
    def notices(self) -> tuple[PvcError, ...]:
        """What was found wrong and did not stop an operation, such as a checkout left unsettled."""
        return tuple(self._repository.notices)

    @property
    def root(self) -> Path:
        """Top of the working tree."""
        return self._repository.root

    def checkout(
        self,
        revision: str,
        to: AnyPath | None = None,
        *,
        engine: Engine | None = None,
        **how: Unpack[HowToWrite],
    ) -> CheckedOut:
        """Write a revision's weights to a directory or into an engine, and move HEAD there.

        Args:
            revision: a revision, a vector, an expression or the base.
            to: the directory; None stands for the only target there is.
            engine: the engine to write to instead.
            **how: see `HowToWrite`.
        """
        from pvc.repo.commands.checkout import checkout

        path = None if to is None else Path(to)
        with checkout_target(
            self._repository, path, engine, force=how.get("force", False)
        ) as target:
            return checkout(
                self._repository,
                revision,
                target,
                keep_head=how.get("keep_head", False),
                dtype=how.get("dtype"),
                allow_nonfinite=how.get("allow_nonfinite", False),
                crew=self._crew,
            )

    def commit(
        self,
        name: str,
        source: AnyPath | None = None,
        *,
        engine: Engine | None = None,
        **how: Unpack[How],
    ) -> Committed:
        """Commit a checkpoint, or what an engine holds, as a vector.

        Args:
            name: the vector.
            source: the checkpoint's directory.
            engine: the engine, instead of a checkpoint.
            **how: see `How`.

        Raises:
            ValueError: neither a checkpoint nor an engine was named.
        """
        from pvc.repo.commands.commit import Wish, commit

        path = None if source is None else Path(source)
        with commit_source(self._repository, path, engine) as found:
            return commit(self._repository, Wish(name, **how), found, self._crew)

    def verify(self, engine: Engine = True, revision: str | None = None) -> Verified:
        """Compare every block of an engine with a revision.

        Args:
            engine: which engine.
            revision: what to compare with; None stands for what was last checked out into it or
                committed from it, or for HEAD.
        """
        from pvc.live.commands.verify import check

        with _connect(self._repository, engine) as connection:
            return check(self._repository, connection, revision, self._crew)

    def restore(self, engine: Engine = True, *, force: bool = False) -> Restored:
        """Bring a restarted engine back to the weights that it had, bit for bit.

        Args:
            engine: which engine.
            force: overwrite what it holds and no commit does, after keeping it.
        """
        from pvc.live.commands.restore import restore

        with _connect(self._repository, engine) as connection:
            return restore(self._repository, connection, self._crew, force=force)

    def status(self) -> Status:
        """Where HEAD is, what is edited, and what the directories hold; no weights are read."""
        from pvc.repo.commands.status import status

        return status(self._repository)

    def engines(self) -> tuple[EngineStatus, ...]:
        """What the engines hold, as far as they know themselves; no weights are read."""
        from pvc.live.commands.status import status

        return status(self._repository, self.status().tree)


def _connect(repository: Repository, engine: Engine) -> Connection:
    from pvc.live.commands.choice import connect_known

    return connect_known(repository, None if engine is True else engine)
