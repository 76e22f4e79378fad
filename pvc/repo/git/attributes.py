"""The attributes of pvc's own files: git keeps them byte for byte, whatever is set for others.

A `.gitattributes` of a repository, such as those of model hubs, may send every `*.json` through a
filter, or change its line ends or encoding.  `info/attributes` goes before all of them (see
gitattributes, "DESCRIPTION"), for pvc and for plain git alike, and belongs to one clone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pvc.repo.git.merge import Merges
from pvc.repo.git.process import GitError
from pvc_store import atomic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

PLAIN = "text eol=lf !filter !ident !merge !working-tree-encoding"
"""Attributes of a text file that git stores, writes and merges as it is, with line ends of Unix."""


class Attributes(Merges):
    """A git repository that keeps some files byte for byte."""

    def keep_plain(self, patterns: Sequence[str], paths: Sequence[str]) -> None:
        """Let git keep files byte for byte, in this clone.

        Files that git has written with other line ends or in another encoding, and that nobody
        edited since, are written anew.

        Args:
            patterns: the files, as patterns of gitattributes.
            paths: the same files, as pathspecs.
        """
        file = self.common / "info" / "attributes"
        missing = missing_lines(file, [f"{pattern} {PLAIN}".encode() for pattern in patterns])
        if not missing:
            return
        converted = dict(self._converted(paths)) if self.head() else {}
        for path, blob in converted.items():
            atomic.write_file(self.root / path, self._need(blob).data)
        add_lines(file, missing)
        if converted:  # a refresh would go by their size
            self.run("update-index", "--", *converted)

    def _converted(self, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Files that are HEAD's to git, in other bytes; each with the id of HEAD's.

        Not those that a filter has written: it may have made them of what is stored elsewhere.
        """
        try:
            edited = set(self.edited(paths))
        except GitError:  # a filter that fails
            return
        listed = self.ask("ls-files", "--stage", "-z", "--", *paths).split("\0")
        found = {}
        for entry in filter(None, listed):
            facts, _, path = entry.partition("\t")
            mode, blob, _ = facts.split(" ")
            file = self.root / path
            regular = mode.startswith("100") and file.is_file() and not file.is_symlink()
            if regular and path not in edited:
                data = file.read_bytes()
                if blob != hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest():  # noqa: S324
                    found[path] = blob
        filtered = set(self._filtered(found))
        yield from ((path, blob) for path, blob in found.items() if path not in filtered)

    def _filtered(self, paths: Collection[str]) -> Iterator[str]:
        """Those of some paths that have a filter."""
        if not paths:
            return
        words = self.ask("check-attr", "-z", "filter", "--", *paths).split("\0")
        for path, value in zip(words[::3], words[2::3], strict=False):
            if value not in {"unspecified", "unset"}:
                yield path


def missing_lines(file: Path, lines: Sequence[bytes]) -> list[bytes]:
    """Those of some lines that a file of git's `info` does not have."""
    there = file.read_bytes().splitlines() if file.exists() else []
    return [line for line in lines if line not in there]


def add_lines(file: Path, lines: Sequence[bytes]) -> None:
    """Add lines at the end of a file of git's `info`."""
    text = file.read_bytes() if file.exists() else b""
    start = text if not text or text.endswith(b"\n") else text + b"\n"
    file.parent.mkdir(exist_ok=True)
    atomic.write_file(file, start + b"\n".join([*lines, b""]))
