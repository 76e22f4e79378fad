"""What git keeps: refs, commits and their files, the log, and notes."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from pvc.errors import PvcError
from pvc.repo.git.locks import remove_stale
from pvc.repo.git.object_reader import ReaderEndedError, tree_entries
from pvc.repo.git.process import ENDED, GAVE_UP, GitError, GitProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pvc.repo.git.object_reader import GitObject

NOTES_REF = "refs/notes/pvc"
SAYS_NO = (1, 128)
"""Exit codes of a git that has looked, and did not find what it was asked for."""


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


NOTHING_FOUND = 1
"""Exit code of a `git grep` that found nothing."""

_ENTRY = fields(LogEntry)


class FileChange(NamedTuple):
    """A file that a commit changed.

    Attributes:
        letter: "A" added, "D" deleted, or another for changed.
        path: the file.
        blob: the id that git gives its content afterwards, as git abbreviates it.
    """

    letter: str
    path: str
    blob: str


class Objects(GitProcess):
    """A git repository, as far as its objects and refs go."""

    def head(self) -> str | None:
        """The commit that HEAD stands at, or None before the first one."""
        found = self._get("HEAD^{commit}")
        return None if found is None else found.name

    def branch(self) -> str | None:
        """The branch that HEAD is attached to, or None."""
        ref = self._try("symbolic-ref", "--quiet", "HEAD")  # --short would tell it from a tag
        return None if ref is None else ref.removeprefix("refs/heads/")

    def branch_commit(self, name: str) -> str | None:
        """The commit of a branch, or None; starts no process."""
        if "\n" in name:
            return None
        found = self._get(f"refs/heads/{name}^{{commit}}")
        return None if found is None else found.name

    def find(self, revision: str) -> str | None:
        """The commit that a revision names, or None."""
        if revision == "HEAD":
            return self.head()
        if revision.startswith(("-", "^")) or {"\n", "\0"} & set(revision):
            return None
        if revision.startswith(":/"):  # all that follows is the text that git looks for
            revision = self._try("rev-parse", "--verify", "--quiet", revision) or revision
        return self._try("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") or None

    def _try(self, *arguments: str) -> str | None:
        """What a git command prints, or None if git says no; one that was killed says nothing."""
        try:
            return self.ask(*arguments)
        except GitError as error:
            if error.status not in SAYS_NO:
                raise
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
        lines = self.ask("for-each-ref", f"--format={form}", prefix).splitlines()
        return [(name, commit) for name, commit in (line.split("\0") for line in lines)]

    def parents(self, commit: str) -> list[str]:
        """The parents of a commit."""
        return self.ask("rev-list", "--parents", "-n", "1", commit).split()[1:]

    def read(self, commit: str, path: str) -> str | None:
        """The text of a file at a commit, or None; undecodable bytes become U+FFFD."""
        data = self.read_bytes(commit, path)
        return None if data is None else data.decode(errors="replace")

    def read_bytes(self, commit: str, path: str) -> bytes | None:
        """The bytes of a file at a commit, or None.

        Raises:
            GitError: an object that should be there is missing.
        """
        directory, _, name = path.rpartition("/")
        is_file, blob = self._entries(commit, directory).get(name, (False, ""))
        return self._need(blob).data if is_file else None

    def _entries(self, commit: str, directory: str) -> dict[str, tuple[bool, str]]:
        """What lies in a directory at a commit: whether it is a file, and its id, by name."""
        found = self._need(f"{commit}^{{tree}}")
        for name in filter(None, directory.split("/")):
            is_file, below = tree_entries(found.data).get(name, (True, ""))
            if is_file:
                return {}
            found = self._need(below)
        return tree_entries(found.data) if found.sort == "tree" else {}

    def _need(self, name: str) -> GitObject:
        """An object that should be there.

        Raises:
            GitError: it is not.
        """
        found = self._get(name)
        if found is None:
            raise GitError("cat-file", f"{name} is missing or damaged")
        return found

    def _get(self, name: str) -> GitObject | None:
        try:
            return self._objects.get(name)
        except ReaderEndedError as error:
            detail = GAVE_UP if error.status > 0 else ENDED
            raise GitError("cat-file", detail, error.status) from None

    def blob(self, name: str) -> GitObject | None:
        """A file's content, by an id or as "COMMIT:PATH", or None; asks git once."""
        found = self._get(name)
        return found if found is not None and found.sort == "blob" else None

    def read_head(self, path: str) -> bytes | None:
        """The bytes of a file at HEAD, or None; also before the first commit."""
        return None if self.head() is None else self.read_bytes("HEAD", path)

    def files(self, commit: str, directory: str) -> list[str]:
        """Paths of the files right below a directory at a commit, sorted."""
        return sorted(self.blobs(commit, directory))

    def blobs(self, commit: str, directory: str) -> dict[str, str]:
        """The same, each with the id that git gives its content."""
        entries = self._entries(commit, directory).items()
        return {f"{directory}/{name}": blob for name, (is_file, blob) in entries if is_file}

    def changed(self, before: str, after: str, paths: Sequence[str]) -> list[str]:
        """Files that differ between two commits or trees, sorted."""
        options = ("--name-only", "--no-renames", "--no-relative", "-z")
        return sorted(
            filter(None, self.ask("diff", *options, before, after, "--", *paths).split("\0"))
        )

    def with_text(self, commit: str, texts: Sequence[str], paths: Sequence[str]) -> list[str]:
        """Files of a commit that hold one of some texts, sorted."""
        options = ("--files-with-matches", "--fixed-strings", "--text", "--full-name", "-z")
        wanted = (word for text in texts for word in ("-e", text))
        try:
            found = self.ask(
                "grep", "--no-recurse-submodules", *options, *wanted, commit, "--", *paths
            )
        except GitError as error:
            if error.status != NOTHING_FOUND:
                raise
            return []
        return sorted(path.removeprefix(f"{commit}:") for path in filter(None, found.split("\0")))

    def log(
        self, arguments: Sequence[str], paths: Sequence[str] = ()
    ) -> Iterator[tuple[LogEntry, list[FileChange]]]:
        """Commits, newest first, as git finds them; each with the files that it changed."""
        form = "%H%x00%h%x00%cI%x00%an%x00%D%x00%s%x00"
        shown = ["--raw", "--no-renames", "--no-follow", "-z"]
        plain = ["--encoding=UTF-8", "--no-show-signature", f"--format={form}"]
        merges = "--diff-merges=first-parent"
        words = self.stream("log", *plain, *shown, merges, *arguments, "--", *paths)
        with contextlib.closing(words):
            word = next(words, None)
            while word is not None:
                entry = LogEntry(word.lstrip("\n"), *itertools.islice(words, len(_ENTRY) - 1))
                changes = []
                # The next commit begins with its id.
                while (word := next(words, None)) is not None and word.lstrip("\n")[:1] in {
                    ":",
                    "",
                }:
                    if word.strip("\n"):
                        *_, blob, letter = word.split(" ")
                        changes.append(FileChange(letter, next(words), blob))
                yield entry, changes

    def note(self, commit: str) -> str | None:
        """Pvc's note on a commit, or None."""
        return self._try("notes", "--ref", NOTES_REF, "show", commit)

    def add_note(self, commit: str, text: str) -> None:
        """Write pvc's note on a commit, over an older one.

        Raises:
            GitError: it cannot be written, and not because of a lock that a killed git left.
        """
        command = "notes", "--ref", NOTES_REF, "add", "--force", "--message", text, commit
        try:
            self.run(*command)
        except GitError:
            if not remove_stale(self.common / f"{NOTES_REF}.lock"):
                raise
            self.run(*command)
