"""What pvc needs of git.  The only module that speaks to it.

A pvc commit is made through an index of its own, so that nothing which the user staged travels
along; afterwards the user's index and files are brought up to date for pvc's own paths.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections import deque
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import git

from pvc.errors import PvcError
from pvc_store import atomic
from pvc_store.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NOTES_REF = "refs/notes/pvc"
INDEX_PREFIX = "git-index-"
LOCK_SECONDS = 2.0
OPERATIONS = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "BISECT_LOG": "bisect",
}

_MODE = "100644"
_DURABLE = ("-c", "core.fsync=all")  # of itself git leaves it to luck what survives a power cut


class GitError(PvcError):
    """git refused.

    Attributes:
        command: the git command, without the program.
        detail: what git said.
    """

    def __init__(self, command: str, detail: str) -> None:
        self.command = command
        self.detail = detail
        super().__init__(f"git {command} failed: {detail or 'it said nothing'}.")


class BlockedMoveError(GitError):
    """HEAD cannot move: files that git tracks were edited, and would be overwritten."""


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


class UnknownRevisionError(PvcError):
    """A text names nothing in the repository.

    Attributes:
        revision: the text.
        close: names that are like it, if anybody looked.
    """

    def __init__(self, revision: str, what: str = "neither a revision nor a vector") -> None:
        self.revision = revision
        self.close: tuple[str, ...] = ()
        super().__init__(f"{revision!r} is {what} of this repository.")


class UnfinishedError(PvcError):
    """git is in the middle of a merge, rebase, or the like.

    Attributes:
        operation: which one.
    """

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__(f"A git {operation} is not finished.")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One commit, as `git log` tells it.

    Attributes:
        commit: its id in hexadecimal.
        short: the id as git abbreviates it.
        date: committer date, ISO 8601.
        author: name of the author.
        refs: branches and tags that point to it, as git decorates them.
        subject: first line of the message.
    """

    commit: str
    short: str
    date: str
    author: str
    refs: str
    subject: str


_ENTRY = fields(LogEntry)


class Git:
    """One working tree of a git repository.

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
    def create(cls, directory: Path) -> Git:
        """A new repository in an existing directory."""
        key = "init.defaultBranch"
        with _refused("init"):
            run = git.Git(directory).execute
            branch = str(run(["git", "config", "--default", "main", "--get", key]))
            run(["git", "init", "--quiet", f"--initial-branch={branch}"])
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
        with _refused(" ".join(word for word in arguments[:2] if not word.startswith("-"))):
            return str(self._repo.git.execute(["git", *_DURABLE, *arguments], **options))

    # Reading

    def head(self) -> str | None:
        """The commit that HEAD stands at, or None before the first one."""
        return self.find("HEAD")

    def branch(self) -> str | None:
        """The branch that HEAD is attached to, or None."""
        with contextlib.suppress(GitError):  # --short would tell it from a tag of the same name
            return self.run("symbolic-ref", "--quiet", "HEAD").removeprefix("refs/heads/")
        return None

    def find(self, revision: str) -> str | None:
        """The commit that a revision names, or None."""
        if revision.startswith(("-", "^")) or {"\n", "\0"} & set(revision):
            return None
        with contextlib.suppress(GitError):
            return self.run("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") or None
        return None

    def is_ref(self, name: str) -> bool:
        """Whether a branch or a tag has this name."""
        refs = (f"refs/heads/{name}", f"refs/tags/{name}")
        return any(self.find(ref) is not None for ref in refs)

    def branches(self) -> list[tuple[str, str]]:
        """Name and commit of every branch."""
        return self._refs("refs/heads")

    def tags(self) -> list[tuple[str, str]]:
        """Name and commit of every tag."""
        return self._refs("refs/tags")

    def _refs(self, prefix: str) -> list[tuple[str, str]]:
        commit = "%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
        form = f"%(refname:lstrip=2)%00{commit}"
        lines = self.run("for-each-ref", f"--format={form}", prefix).splitlines()
        return [(name, commit) for name, commit in (line.split("\0") for line in lines)]

    def parents(self, commit: str) -> list[str]:
        """The parents of a commit."""
        return self.run("rev-list", "--parents", "-n", "1", commit).split()[1:]

    def read(self, commit: str, path: str) -> str | None:
        """The text of a file at a commit, or None; undecodable bytes become U+FFFD."""
        data = self.read_bytes(commit, path)
        return None if data is None else data.decode(errors="replace")

    def read_bytes(self, commit: str, path: str) -> bytes | None:
        """The bytes of a file at a commit, or None.

        Raises:
            GitError: an object that should be there is missing.
        """
        try:
            blob = self._repo.tree(commit).join(path)
            return bytes(blob.data_stream.read()) if blob.type == "blob" else None
        except KeyError:
            return None
        except (ValueError, git.ODBError) as error:
            raise GitError(f"show {commit[:10]}:{path}", str(error)) from None

    def read_edited(self, path: str) -> bytes | None:
        """The bytes of a file of the working tree as git would commit them, or None."""
        if not (self.root / path).is_file():
            return None
        blob = self.run("hash-object", "-w", "--", path)
        with _refused("cat-file"):
            return bytes(self._repo.git.get_object_data(blob)[3])

    def read_head(self, path: str) -> bytes | None:
        """The bytes of a file at HEAD, or None; also before the first commit."""
        return None if self.head() is None else self.read_bytes("HEAD", path)

    def files(self, commit: str, directory: str) -> list[str]:
        """Paths of the files right below a directory at a commit, sorted."""
        listed = self.run("ls-tree", "-z", commit, f"{directory}/")
        entries = (line.split("\t", 1) for line in listed.split("\0") if line)
        return sorted(path for info, path in entries if info.split()[1] == "blob")

    def log(self, arguments: Sequence[str], paths: Sequence[str] = ()) -> Iterator[LogEntry]:
        """Commits, newest first."""
        return (entry for entry, _ in self.log_changes(arguments, paths))

    def log_changes(
        self, arguments: Sequence[str], paths: Sequence[str] = ()
    ) -> Iterator[tuple[LogEntry, list[tuple[str, str]]]]:
        """Commits, newest first, each with the letter and path of every file that it changed."""
        form = "%H%x00%h%x00%cI%x00%an%x00%D%x00%s%x00"
        shown = ["--name-status", "--no-renames", "--no-follow", "--diff-merges=first-parent", "-z"]
        plain = ["--encoding=UTF-8", "--no-show-signature", f"--format={form}"]
        text = self.run("log", *plain, *shown, *arguments, "--", *paths)
        rest = deque(text.split("\0"))
        while len(rest) > len(_ENTRY):
            entry = LogEntry(*(rest.popleft() for _ in _ENTRY))
            changed = []
            while rest and len(rest[0].strip("\n")) <= 1:  # the next commit begins with its id
                letter = rest.popleft().strip("\n")
                if letter:
                    changed.append((letter, rest.popleft()))
            yield entry, changed

    def check_unlocked(self) -> None:
        """Make sure that no other git command is at work on the index; gives it a moment to end.

        Raises:
            LockedError: one is, or one was killed and left its lock.
        """
        lock, deadline = self.directory / "index.lock", time.monotonic() + LOCK_SECONDS
        while lock.exists():
            if time.monotonic() > deadline:
                raise LockedError(str(lock), "another git command")
            time.sleep(LOCK_SECONDS / 40)

    def edited(self, paths: Sequence[str]) -> list[str]:
        """Those of pvc's paths that differ from HEAD, staged or not, sorted."""
        text = self.run(
            *("-c", "core.fileMode=false", "status", "--porcelain", "-z"),
            *("--untracked-files=all", "--no-renames", "--", *paths),
        )
        return sorted({entry[3:] for entry in text.split("\0") if entry[2:3] == " "})

    def unfinished(self) -> str | None:
        """The operation that git is in the middle of, or None."""
        found = (word for name, word in OPERATIONS.items() if (self.directory / name).exists())
        return next(found, None)

    def note(self, commit: str) -> str | None:
        """Pvc's note on a commit, or None."""
        with contextlib.suppress(GitError):
            return self.run("notes", "--ref", NOTES_REF, "show", commit)
        return None

    # Writing

    def add_note(self, commit: str, text: str) -> None:
        """Write pvc's note on a commit, over an older one."""
        self.run("notes", "--ref", NOTES_REF, "add", "--force", "--message", text, commit)

    def commit(self, changes: Mapping[str, bytes | None], message: str, scratch: Path) -> str:
        """Commit HEAD's files with some of them changed; moves HEAD, touches no file.

        Args:
            changes: new bytes by path; None removes.
            message: the commit message.
            scratch: directory for the temporary index.

        Raises:
            GitError: git or one of its hooks refused; HEAD stands where it stood.
        """
        index = scratch / f"{INDEX_PREFIX}{uuid.uuid4().hex}"
        environment = {"GIT_INDEX_FILE": str(index)}
        try:
            if self.head() is not None:
                self.run("read-tree", "HEAD", env=environment)
            for path, data in changes.items():
                self._stage(path, data, environment)
            options = ["--quiet", "--allow-empty-message", "--cleanup=verbatim"]
            encoding = ("-c", "i18n.commitEncoding=UTF-8")
            self.run(*encoding, "commit", *options, "-m", message, env=environment)
        finally:
            index.unlink(missing_ok=True)
        commit = self.head()
        if commit is None:
            raise GitError("commit", "HEAD names no commit afterwards")
        return commit

    def _stage(self, path: str, data: bytes | None, environment: dict[str, str]) -> None:
        if data is None:
            self.run("update-index", "--force-remove", "--", path, env=environment)
            return
        with _file_of(data) as file:
            blob = self.run("hash-object", "-w", "--stdin", istream=file, env=environment)
        entry = f"{_MODE},{blob},{path}"
        self.run("update-index", "--add", "--cacheinfo", entry, env=environment)

    def follow_head(self, paths: Sequence[str], ends: Sequence[str]) -> None:
        """Bring files and index to HEAD, below some paths.

        Args:
            paths: files and directories to look at.
            ends: commits; a file is touched only if it still is as one of them has it, "" being
                the state before the first commit.  What somebody edited stays.
        """
        changed: set[str] = set()
        for end in ends:
            before = end or self.run("hash-object", "-t", "tree", "/dev/null")
            listed = self.run(
                "diff", "--name-only", "--no-renames", "-z", before, "HEAD", "--", *paths
            )
            changed.update(filter(None, listed.split("\0")))
        for path in sorted(changed):
            self._follow(path, ends)
        if changed:
            self.run("reset", "--quiet", "HEAD", "--", *sorted(changed))

    def _follow(self, path: str, ends: Sequence[str]) -> None:
        file = self.root / path
        wanted, found = self.read_bytes("HEAD", path), self.read_edited(path)
        edited = found and all(found != self._at(end, path) for end in ends)
        if found == wanted or edited:  # a missing or empty file is what a killed git leaves
            return
        if wanted is None:
            file.unlink(missing_ok=True)
        else:
            atomic.make_directory(file.parent)
            atomic.write_file(file, wanted)

    def _at(self, commit: str, path: str) -> bytes | None:
        return self.read_bytes(commit, path) if commit else None

    def check_move(self, commit: str) -> None:
        """Make sure that HEAD can move to a commit without harm to edited files.

        Raises:
            BlockedMoveError: it cannot.
        """
        with contextlib.suppress(GitError):  # it also fails where files are merely edited
            self.run("update-index", "-q", "--refresh")
        try:
            self.run("read-tree", "-m", "-u", "--dry-run", "HEAD", commit)
        except GitError as error:
            raise BlockedMoveError(error.command, error.detail) from None

    def move(self, revision: str, *, detach: bool) -> None:
        """`git checkout`: HEAD, index and files move to a branch or a commit.

        Raises:
            GitError: it refused.  A hook that fails after the move is no refusal.
        """
        commit = self.find(revision)
        try:
            self.run("checkout", "--quiet", *(["--detach"] if detach else []), revision, "--")
        except GitError:
            arrived = self.head() == commit and (self.branch() is None) == detach
            if not arrived:
                raise

    def remove_locks(self, since: int) -> None:
        """Remove the lock files of a git command that was killed; git itself never does.

        Waits until they are LOCK_SECONDS old, since another git command may be at work.

        Args:
            since: when that command can have begun at the earliest, in nanoseconds since 1970.
        """
        for lock in [*self.directory.glob("*.lock"), *(self.common / "refs").rglob("*.lock")]:
            with contextlib.suppress(FileNotFoundError):
                made = lock.stat().st_mtime_ns
                if made >= since:
                    age = max(0.0, time.time() - made / 1e9)
                    time.sleep(max(0.0, LOCK_SECONDS - age))
                    if lock.stat().st_mtime_ns == made:
                        lock.unlink()

    def exclude(self, directory: Path) -> None:
        """Let git ignore a directory below the root, in this clone only."""
        file = self.common / "info" / "exclude"
        text = file.read_bytes() if file.exists() else b""
        path = os.fsencode(directory.relative_to(self.root).as_posix())
        pattern = b"/%s/" % re.sub(rb"([\\*?\[ ])", rb"\\\1", path)
        if pattern not in text.splitlines():
            file.parent.mkdir(exist_ok=True)
            start = text if not text or text.endswith(b"\n") else text + b"\n"
            atomic.write_file(file, start + pattern + b"\n")


def _file_of(data: bytes) -> BinaryIO:
    """A readable file with `data`, for the standard input of git."""
    fd = os.memfd_create("pvc")
    atomic.write_all(fd, data, 0)
    return os.fdopen(fd, "rb")


@contextlib.contextmanager
def _refused(command: str) -> Iterator[None]:
    try:
        yield
    except git.GitCommandNotFound:
        raise GitError(command, "the program git is not installed") from None
    except git.GitCommandError as error:
        said = " ".join(str(error.stderr or error.stdout or "").split())
        said = said.removeprefix("stderr: ").removeprefix("stdout: ")
        said = said.removeprefix("'").removesuffix("'").rstrip(". ")
        said = said.removeprefix("fatal: ").removeprefix("error: ")
        raise GitError(command, said) from None
