"""Commits of pvc's own files, and bringing those files to HEAD.

A commit is made through an index of its own, so that nothing which the user staged travels along;
afterwards the user's index and files are brought up to date for pvc's own paths.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from typing import TYPE_CHECKING, BinaryIO

from pvc.repo.git.objects import Objects
from pvc.repo.git.process import GitError
from pvc_store import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

INDEX_PREFIX = "git-index-"

MODE = "100644"


class Index(Objects):
    """A git repository, with its index and the files that it tracks."""

    def edited(self, paths: Sequence[str]) -> list[str]:
        """Those of pvc's paths that differ from HEAD, staged or not, sorted."""
        text = self.ask(
            *("-c", "core.fileMode=false", "--no-optional-locks", "status", "--porcelain", "-z"),
            *("--untracked-files=all", "--no-renames", "--", *paths),
        )
        return sorted({entry[3:] for entry in text.split("\0") if entry[2:3] == " "})

    def read_edited(self, path: str) -> bytes | None:
        """The bytes of a file of the working tree as git would commit them, or None."""
        if not (self.root / path).is_file():
            return None
        blob = self.run("hash-object", "-w", "--", path)
        return self._need(blob).data

    def commit(self, changes: Mapping[str, bytes | None], message: str, scratch: Path) -> str:
        """Commit HEAD's files with some of them changed; moves HEAD, touches no file.

        Args:
            changes: new bytes by path; None removes.
            message: the commit message.
            scratch: directory for the temporary index.

        Raises:
            GitError: git or one of its hooks refused; HEAD stands where it stood.
        """
        with self.copied_index(scratch) as environment:
            if self.head() is not None:
                self.run("read-tree", "--reset", "HEAD", env=environment)
            else:
                self.run("read-tree", "--empty", env=environment)
            for path, data in changes.items():
                self._stage(path, data, environment)
            options = ["--quiet", "--allow-empty-message", "--cleanup=verbatim"]
            encoding = ("-c", "i18n.commitEncoding=UTF-8")
            self.run(*encoding, "commit", *options, "-m", message, env=environment)
        commit = self.head()
        if commit is None:
            raise GitError("commit", "HEAD names no commit afterwards")
        return commit

    def write_commit(self, changes: Mapping[str, bytes | None], message: str, scratch: Path) -> str:
        """Make a commit upon HEAD's that HEAD does not move to; no hook is asked.  Returns its id.

        Args:
            changes: new bytes by path.
            message: the commit message.
            scratch: directory for the temporary index.
        """
        with self.temporary_index(scratch) as environment:
            self.run("read-tree", "HEAD", env=environment)
            for path, data in changes.items():
                self._stage(path, data, environment)
            tree = self.run("write-tree", env=environment)
        return self.run("commit-tree", "-p", "HEAD", "-m", message, tree)

    @contextlib.contextmanager
    def temporary_index(self, scratch: Path) -> Iterator[dict[str, str]]:
        """An environment in which git uses an index of its own, which goes with the block."""
        index = scratch / f"{INDEX_PREFIX}{uuid.uuid4().hex}"
        try:
            yield {"GIT_INDEX_FILE": str(index)}
        finally:
            remove_indexes(scratch, index.name)

    @contextlib.contextmanager
    def copied_index(self, scratch: Path) -> Iterator[dict[str, str]]:
        """The same with a copy of the user's index: git need not read the files that it knows."""
        with self.temporary_index(scratch) as environment:
            index = self.directory / "index"
            if index.exists():
                shutil.copyfile(index, environment["GIT_INDEX_FILE"])
            yield environment

    def store(self, data: bytes) -> str:
        """Write a file's content into git's objects.  Returns its id."""
        with file_of(data) as file:
            return self.run("hash-object", "-w", "--stdin", istream=file)

    def _stage(self, path: str, data: bytes | None, environment: dict[str, str]) -> None:
        if data is None:
            self.run("update-index", "--force-remove", "--", path, env=environment)
            return
        entry = f"{MODE},{self.store(data)},{path}"
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
            changed.update(self.changed(before, "HEAD", paths))
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


def remove_indexes(scratch: Path, name: str = INDEX_PREFIX) -> None:
    """Remove temporary indexes, and the locks on them, whose names begin like this."""
    for path in scratch.glob(f"{name}*"):
        path.unlink(missing_ok=True)


def file_of(data: bytes) -> BinaryIO:
    """A readable file with `data`, for the standard input of git."""
    fd = os.memfd_create("pvc")
    atomic.write_all(fd, data, 0)
    return os.fdopen(fd, "rb")
