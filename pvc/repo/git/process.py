"""Running git: where its repository is, and what its refusals become."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import git

from pvc.errors import PvcError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

ENDED = "the process that reads objects was ended"
TEMPORARY = ".pvc-tmp"

_DURABLE = ("-c", "core.fsync=all")  # of itself git leaves it to luck what survives a power cut


class GitError(PvcError):
    """git refused.

    Attributes:
        command: the git command, without the program.
        detail: what git said.
        status: its exit code; of a git that was killed, minus the number of the signal.
    """

    def __init__(self, command: str, detail: str, status: int = 0) -> None:
        self.command = command
        self.detail = detail
        self.status = status
        super().__init__(f"git {command} failed: {detail or 'it said nothing'}.")


class NoRepositoryError(PvcError):
    """There is no git repository.

    Attributes:
        directory: where it was looked for.
    """

    def __init__(self, directory: Path, detail: str) -> None:
        self.directory = directory
        super().__init__(f"{directory} is not in a pvc repository: {detail}.")


class ObjectFormatError(PvcError):
    """A git repository names its objects in a way that pvc cannot read.

    Attributes:
        directory: top of the working tree.
        found: the way, as git calls it.
    """

    def __init__(self, directory: Path, found: str) -> None:
        self.directory = directory
        self.found = found
        super().__init__(f"The git repository {directory} uses {found}; pvc reads sha1 only.")


class GitProcess:
    """A working tree of a git repository, in which git is run.

    Args:
        directory: a directory within the working tree.

    Raises:
        NoRepositoryError: it is in none, or in a bare repository.
        ObjectFormatError: its objects are not named by SHA-1.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self._repo = git.Repo(directory, search_parent_directories=True)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError):
            raise NoRepositoryError(directory, "no git repository is there or above") from None
        if self._repo.working_tree_dir is None:
            raise NoRepositoryError(directory, "a bare git repository has no working tree")
        self.root = Path(self._repo.working_tree_dir)
        with self._repo.config_reader("repository") as config:
            names = str(config.get_value("extensions", "objectformat", "sha1"))
        if names != "sha1":
            raise ObjectFormatError(self.root, names)
        self.common = Path(self._repo.common_dir).resolve()
        self.directory = Path(self._repo.git_dir)

    @classmethod
    def create(cls, directory: Path) -> Self:
        """The repository of an existing directory, made if there is none.

        It appears by one rename: of a git that is killed while it makes one, a part would stay.
        """
        temporary = directory / f".git{TEMPORARY}"
        with _alone(directory), contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, temporary, ignore_errors=True)
            if not (directory / ".git").exists():
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
                _initialise(temporary)
                (temporary / ".git").rename(directory / ".git")
        return cls(directory)

    def close(self) -> None:
        """End the processes that read objects."""
        self._repo.close()

    def restart(self) -> None:
        """Let new processes read objects: an interrupt hit the old ones too."""
        self._repo.git.clear_cache()

    def run(self, *arguments: str, **options: Any) -> str:
        """Standard output of a git command, without the last newline.

        Raises:
            GitError: it failed.
        """
        with refused(_named(arguments)):
            return str(self._repo.git.execute(["git", *_DURABLE, *arguments], **options))


def _initialise(directory: Path) -> None:
    with refused("init"):
        run = git.Git(directory).execute
        key = "init.defaultBranch"
        branch = str(run(["git", "config", "--default", "main", "--get", key]))
        run(["git", "init", "--quiet", f"--initial-branch={branch}"])


def _named(arguments: Sequence[str]) -> str:
    """A git command in short, without options."""
    rest = list(arguments)
    while rest[:1] == ["-c"]:
        del rest[:2]
    return " ".join(word for word in rest[:2] if not word.startswith("-"))


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Nobody else makes a repository in a directory while the block runs."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def refused(command: str) -> Iterator[None]:
    """What git refuses in the block becomes a `GitError` in its words."""
    try:
        yield
    except git.GitCommandNotFound:
        raise GitError(command, "the program git is not installed") from None
    except BrokenPipeError:
        raise GitError(command, ENDED) from None
    except git.GitCommandError as error:
        said = " ".join(str(error.stderr or error.stdout or "").split())
        said = said.removeprefix("stderr: ").removeprefix("stdout: ")
        said = said.removeprefix("'").removesuffix("'").rstrip(". ")
        said = said.removeprefix("fatal: ").removeprefix("error: ")
        raise GitError(
            command, said, error.status if isinstance(error.status, int) else 0
        ) from None
