"""Merging commits: git decides about whole trees and other people's files, pvc about its own.

A merge that succeeds is made without touching index or files, and reached by fast-forward.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.repo.git.commits import MODE, Index, file_of
from pvc.repo.git.gitpython import execute
from pvc.repo.git.process import GitError, refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CONFLICT = 1
"""Exit code of a git that merged, with conflicts."""
NOTHING_IN_COMMON = 1
"""Exit code of a git that found no common ancestor."""


@dataclass(frozen=True, slots=True)
class MergedTree:
    """What git makes of two commits.

    Attributes:
        tree: id of the merged tree; files in conflict hold git's markers.
        conflicts: their paths.
    """

    tree: str
    conflicts: tuple[str, ...]


class Merges(Index):
    """A git repository in which commits are merged."""

    def merge_base(self, ours: str, theirs: str) -> str | None:
        """A best common ancestor, or None."""
        try:
            return self.ask("merge-base", ours, theirs)
        except GitError as error:
            if error.status != NOTHING_IN_COMMON:
                raise
            return None

    def merged_tree(self, ours: str, theirs: str) -> MergedTree:
        """Merge two commits; touches neither index nor files.

        Raises:
            GitError: git cannot, for instance since it is older than 2.38.
        """
        options = ("--write-tree", "-z", "--name-only", "--no-messages")
        command = ["merge-tree", *options, ours, theirs]
        with refused("merge-tree"):
            status, out, err = execute(
                self.gitpython, command, with_extended_output=True, with_exceptions=False
            )
        if status not in {0, CONFLICT}:
            raise GitError("merge-tree", str(err))
        tree, *conflicts = str(out).rstrip("\0").split("\0")
        return MergedTree(tree, tuple(dict.fromkeys(conflicts)))

    def commit_merge(
        self,
        tree: str,
        changes: Mapping[str, bytes | None],
        parents: Sequence[str],
        message: str,
        scratch: Path,
    ) -> str:
        """A commit of a tree with some files changed; no ref points to it yet.

        Signed where `commit.gpgSign` asks for it.

        Raises:
            GitError: git refused.
        """
        with self.temporary_index(scratch) as environment:
            self.run("read-tree", tree, env=environment)
            for path, data in changes.items():
                self._stage(path, data, environment)
            whole = self.run("write-tree", env=environment)
        signed = self._try("config", "--type=bool", "--get", "commit.gpgSign") == "true"
        options = [*(["-S"] if signed else []), *(word for one in parents for word in ("-p", one))]
        encoding = ("-c", "i18n.commitEncoding=UTF-8")
        return self.run(*encoding, "commit-tree", *options, "-m", message, whole)

    def forward(self, commit: str) -> None:
        """Move the branch, the index and the files forward to a commit.

        Raises:
            GitError: it is no descendant of HEAD, or edited files are in the way; nothing moved.
        """
        try:
            self.run("merge", "--quiet", "--ff-only", commit)
        except GitError:
            if self.head() != commit:  # a hook that fails after the move is no refusal
                raise

    def begin_merge(self, commit: str) -> None:
        """Begin a merge that people conclude: files and index hold the conflicts.

        Raises:
            GitError: edited files are in the way; nothing has begun.
        """
        try:
            self.run("merge", "--quiet", "--no-commit", "--no-ff", commit)
        except GitError:
            if not (self.directory / "MERGE_HEAD").exists():
                raise

    def abort_merge(self) -> None:
        """Go back to before the merge that is under way.

        Raises:
            GitError: none is, or git refuses.
        """
        # Or files that were only touched would be in the way.
        with contextlib.suppress(GitError):
            self.run("update-index", "-q", "--refresh")
        self.run("merge", "--abort")

    def unmerged(self) -> list[str]:
        """Paths that the index holds in conflict, sorted."""
        listed = self.ask("diff", "--name-only", "--diff-filter=U", "--no-relative", "-z")
        return sorted(set(filter(None, listed.split("\0"))))

    def stage(self, paths: Sequence[str]) -> None:
        """Stage files of the working tree as they are, removed ones too."""
        gone = [path for path in paths if not os.path.lexists(self.root / path)]
        there = [path for path in paths if path not in gone]
        if there:
            self.run("add", "--force", "--", *there)
        if gone:
            self.run("update-index", "--force-remove", "--", *gone)

    def stage_conflict(self, path: str, versions: Sequence[bytes | None]) -> None:
        """Let the index hold a file in conflict, whatever it holds of it now.

        Args:
            path: the file.
            versions: at the common ancestor, on our side and on theirs; None where it is not there.
        """
        self.run("update-index", "--force-remove", "--", path)
        lines = [
            f"{MODE} {self.store(data)} {stage}\t{path}\0"
            for stage, data in enumerate(versions, 1)
            if data is not None
        ]
        with file_of("".join(lines).encode()) as file:
            self.run("update-index", "-z", "--index-info", istream=file)

    def conclude_merge(self, message: str) -> str:
        """Commit the merge that is under way, as it is staged.  Returns the commit.

        Raises:
            GitError: git or one of its hooks refused.
        """
        encoding = ("-c", "i18n.commitEncoding=UTF-8")
        self.run(*encoding, "commit", "--quiet", "--cleanup=verbatim", "-m", message)
        return self.ask("rev-parse", "HEAD")
