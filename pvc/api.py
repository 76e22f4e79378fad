"""What Python programs use: a repository, its directories, and its engines.

    repository = pvc.open(".")
    repository.checkout("main", engine="chat")
    repository.commit("listening", engine="chat")
    repository.verify("chat").drifted
    repository.checkout("HEAD~1", engine="chat")

Every method does what the command of its name does, and raises what that tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack, overload

from pvc import live
from pvc.parallel import Crew
from pvc.repo.repository import Repository

if TYPE_CHECKING:
    import os

    from pvc.live.commands.checkout import EngineCheckedOut
    from pvc.live.commands.commit import EngineCommitted
    from pvc.live.commands.status import EngineStatus
    from pvc.live.commands.verify import Verified
    from pvc.repo.commands.checkout import CheckedOut
    from pvc.repo.commands.commit import Committed
    from pvc.repo.commands.status import Status

    AnyPath = str | os.PathLike[str]
    Engine = str | Literal[True]
    """An engine's name; True stands for the only one that runs."""


def open_repository(directory: AnyPath = ".", crew: Crew | None = None) -> OpenRepository:
    """The repository that holds a directory.

    Args:
        directory: somewhere within it.
        crew: who does long work; None uses all processors, and tells nobody.

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


class OpenRepository:
    """A repository that `pvc.open` found; close it, or use it as a context.

    Args:
        repository: the repository.
        crew: who does long work.
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
    def root(self) -> Path:
        """Top of the working tree."""
        return self._repository.root

    @overload
    def checkout(
        self, revision: str, to: AnyPath | None = None, *, keep_head: bool = False
    ) -> CheckedOut: ...

    @overload
    def checkout(
        self, revision: str, *, engine: Engine, keep_head: bool = False, force: bool = False
    ) -> EngineCheckedOut: ...

    def checkout(
        self,
        revision: str,
        to: AnyPath | None = None,
        *,
        engine: Engine | None = None,
        keep_head: bool = False,
        force: bool = False,
    ) -> CheckedOut | EngineCheckedOut:
        """Write a revision's weights to a directory or into an engine, and move HEAD there.

        Args:
            revision: a revision, a vector, an expression or the base.
            to: the directory; None stands for the only target there is.
            engine: the engine to write to instead.
            keep_head: leave HEAD where it is.
            force: overwrite what an engine holds and no commit does, after keeping it.
        """
        if engine is None:
            from pvc.repo.commands.checkout import checkout

            path = None if to is None else Path(to)
            return checkout(self._repository, revision, path, keep_head=keep_head, crew=self._crew)
        from pvc.live.commands.checkout import EngineCheckout
        from pvc.live.commands.checkout import checkout as checkout_engine

        with _connect(engine) as connection:
            request = EngineCheckout(revision, keep_head=keep_head, force=force)
            return checkout_engine(self._repository, request, connection, self._crew)

    @overload
    def commit(
        self,
        name: str,
        source: AnyPath,
        **how: Unpack[How],
    ) -> Committed: ...

    @overload
    def commit(
        self,
        name: str,
        *,
        engine: Engine,
        **how: Unpack[How],
    ) -> EngineCommitted: ...

    def commit(
        self,
        name: str,
        source: AnyPath | None = None,
        *,
        engine: Engine | None = None,
        **how: Unpack[How],
    ) -> Committed | EngineCommitted:
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
        wish = Wish(name, path, **how)
        if engine is None:
            return commit(self._repository, wish, self._crew)
        from pvc.live.commands.commit import commit as commit_engine

        with _connect(engine) as connection:
            return commit_engine(self._repository, wish, connection, self._crew)

    def verify(self, engine: Engine = True, revision: str | None = None) -> Verified:
        """Compare every block of an engine with a revision.

        Args:
            engine: which engine.
            revision: what to compare with; None stands for what was last checked out into it or
                committed from it, or for HEAD.
        """
        from pvc.live.commands.verify import check

        with _connect(engine) as connection:
            return check(self._repository, connection, revision, self._crew)

    def status(self) -> Status:
        """Where HEAD is, what is edited, and what the directories hold; no weights are read."""
        from pvc.repo.commands.status import status

        return status(self._repository)

    def engines(self) -> tuple[EngineStatus, ...]:
        """What the engines hold, as far as they know themselves; no weights are read."""
        from pvc.live.commands.status import status

        return status(self._repository, self.status().tree)


def _connect(engine: Engine) -> live.Connection:
    return live.connect(None if engine is True else engine)
