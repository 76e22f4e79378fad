"""Running git: where its repository is, how it is asked, and what its refusals become.

What changes something goes through GitPython.  What only asks starts git directly: to import
GitPython takes as much time as all else that a command such as `pvc log` does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pvc.errors import PvcError
from pvc.repo.git.environment import environment
from pvc.repo.git.gitpython import execute, gitpython
from pvc.repo.git.object_reader import ObjectReader

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import Self

    import git

ENDED = "the process that reads objects was ended"
GAVE_UP = "the process that reads objects gave up; `git fsck` may find a damaged one"
NOT_INSTALLED = "the program git is not installed"
TEMPORARY = ".pvc-tmp"

_PART_BYTES = 1 << 16
_NOT_FOUND = 127  # exit code of an `env` that does not find git
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

    Attributes:
        root: top of the working tree.
        directory: git's directory of this working tree.
        common: git's directory that all working trees share.

    Raises:
        NoRepositoryError: it is in none, or in a bare repository.
        ObjectFormatError: its objects are not named by SHA-1.
        GitError: git is not installed, or refuses to look.
    """

    def __init__(self, directory: Path) -> None:
        top, own, common, names = _places(directory)
        self.root = Path(os.path.realpath(directory / top))
        if names != "sha1":
            raise ObjectFormatError(self.root, names)
        self.directory = Path(os.path.realpath(directory / own))
        self.common = Path(os.path.realpath(directory / common))
        self._objects = ObjectReader(self._start_reader)

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
        """End the process that reads objects."""
        self._objects.close()

    def ask(self, *arguments: str) -> str:
        """Standard output of a git command that changes nothing, without the last newline.

        Raises:
            GitError: it failed.
        """
        return _ask(self.root, arguments)

    def stream(self, *arguments: str) -> Generator[str]:
        """What a git command prints, word for word as it comes; each ends with a NUL.

        Raises:
            GitError: it failed, perhaps after some words.
        """
        command = _named(arguments)
        with tempfile.TemporaryFile() as said, _installed(command):
            process = subprocess.Popen(  # noqa: S603
                ["git", *arguments],  # noqa: S607
                cwd=self.root,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                bufsize=0,
            )
            try:
                yield from _words(process.stdout)
                status = process.wait()
            finally:
                process.kill()  # nobody wants the rest
                process.communicate()
            if status:
                said.seek(0)
                raise GitError(command, _plain(os.fsdecode(said.read())), status)

    def run(self, *arguments: str, **options: Any) -> str:
        """Standard output of a git command, without the last newline.

        Raises:
            GitError: it failed.
        """
        with refused(_named(arguments)):
            return str(execute(self.gitpython, [*_DURABLE, *arguments], **options))

    @cached_property
    def gitpython(self) -> git.Git:
        """GitPython's way to run git in the working tree."""
        made: git.Git = gitpython().Git(self.root)
        return made

    def _start_reader(self) -> subprocess.Popen[bytes]:
        with _installed("cat-file"):
            return subprocess.Popen(
                ["git", "cat-file", "--batch"],  # noqa: S607
                cwd=self.root,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )


def _places(directory: Path) -> list[str]:
    """Top of the working tree, git's two directories, and how objects are named.

    The paths are relative to `directory`.
    """
    if not directory.is_dir():
        raise NoRepositoryError(directory, "it is no directory")
    options = ("--show-toplevel", "--git-dir", "--git-common-dir", "--show-object-format")
    try:
        found = _rev_parse(directory, *options).split("\n")
        if len(found) > len(options):  # paths contain newlines
            found = [_rev_parse(directory, option) for option in options]
    except GitError as error:
        if "must be run in a work tree" in error.detail:
            around = _around(directory)
            *paths, names = _places(around)
            return [*(str(around / path) for path in paths), names]
        if "not a git repository" in error.detail:
            detail = "no git repository is there or above"
            raise NoRepositoryError(directory, detail) from None
        raise
    return found


def _around(directory: Path) -> Path:
    """The working tree around a directory within its `.git`."""
    own = Path(_rev_parse(directory, "--absolute-git-dir"))
    if own.name != ".git" or _rev_parse(own, "--is-bare-repository") == "true":
        raise NoRepositoryError(directory, "a bare git repository has no working tree")
    return own.parent


def _rev_parse(directory: Path, *options: str) -> str:
    across = {"GIT_DISCOVERY_ACROSS_FILESYSTEM": "1"}
    return _ask(directory, ("rev-parse", "--path-format=relative", *options), across)


def _words(pipe: IO[bytes] | None) -> Iterator[str]:
    """What comes out of a pipe, parted at NULs."""
    assert pipe is not None  # noqa: S101 - it is one
    rest = b""
    while part := pipe.read(_PART_BYTES):
        *words, rest = (rest + part).split(b"\0")
        yield from map(os.fsdecode, words)
    if rest:
        yield os.fsdecode(rest)


def _ask(directory: Path, arguments: Sequence[str], added: dict[str, str] | None = None) -> str:
    """Standard output of a git command, without the last newline."""
    command = _named(arguments)
    with _installed(command):
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=directory,
            env=environment() | (added or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        said = os.fsdecode(done.stderr or done.stdout)
        raise GitError(command, _plain(said), done.returncode)
    return os.fsdecode(done.stdout.removesuffix(b"\n"))


@contextlib.contextmanager
def _installed(command: str) -> Iterator[None]:
    """If git is not there to be started, a `GitError` says so."""
    try:
        yield
    except FileNotFoundError as error:
        if error.filename != "git":  # but the directory
            raise
        raise GitError(command, NOT_INSTALLED) from None


def _initialise(directory: Path) -> None:
    with refused("init"):
        there, key = gitpython().Git(directory), "init.defaultBranch"
        branch = str(execute(there, ["config", "--default", "main", "--get", key]))
        execute(there, ["init", "--quiet", "--object-format=sha1", f"--initial-branch={branch}"])


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
    git = gitpython()

    try:
        yield
    except git.GitCommandNotFound:
        raise GitError(command, NOT_INSTALLED) from None
    except git.GitCommandError as error:
        said = str(error.stderr or error.stdout or "").strip()
        said = said.removeprefix("stderr: ").removeprefix("stdout: ")
        status = error.status if isinstance(error.status, int) else 0
        if status == _NOT_FOUND:
            raise GitError(command, NOT_INSTALLED) from None
        raise GitError(command, _plain(said.removeprefix("'").removesuffix("'")), status) from None


def _plain(said: str) -> str:
    """What git says, on one line and without its marks."""
    said = " ".join(said.split()).rstrip(". ")
    return said.removeprefix("fatal: ").removeprefix("error: ")
