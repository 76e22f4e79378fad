"""Targets that are directories: what pvc wrote there, and whether it still stands so.

One JSON file per target beside the store, so that worktrees share them and git does not see them.
Files are recognised as unchanged by their stamps; where these differ, only content decides.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.errors import MalformedError
from pvc.repo.personality.personality_file import Term
from pvc.strict_json import MALFORMATIONS
from pvc.weights.fingerprint import Fingerprint, Stamp, stamp_now
from pvc_store import atomic
from pvc_store.ids import object_id, parse_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.repo.targets.directory import Content

FORMAT = "pvc target 1"


class RecordError(MalformedError):
    """A target's file is malformed."""


@dataclass(frozen=True, slots=True)
class DirectoryRecord:
    """What pvc last wrote to a directory.

    Attributes:
        path: the directory, absolute.
        tree: tree id of its weights.
        layout: layout id of its files.
        revision: what was checked out, as the user said it.
        terms: the terms of that personality, or None where it is not known.
        stamps: of its files as they were left.
    """

    path: Path
    tree: bytes
    layout: bytes
    revision: str
    terms: tuple[Term, ...] | None
    stamps: Fingerprint

    @property
    def where(self) -> str:
        """Which directory it is, for messages."""
        return str(self.path)

    def changed(self) -> list[str]:
        """Files that are not as they were written, going by their stamps; sorted."""
        return [name for name, stamp in self.stamps.items() if stamp_now(self.path / name) != stamp]

    def stamped(self, content: Content) -> DirectoryRecord:
        """The same, with the stamps that the files of its content have now."""
        found = {path: stamp_now(self.path / path) for path in sorted(content.paths())}
        stamps = {path: stamp for path, stamp in found.items() if stamp is not None}
        return replace(self, stamps=stamps)

    def to_text(self) -> str:
        """The JSON that is stored."""
        document = {
            "format": FORMAT,
            "path": str(self.path),
            "tree": self.tree.hex(),
            "layout": self.layout.hex(),
            "revision": self.revision,
            "terms": terms_json(self.terms),
            "stamps": {name: list(stamp) for name, stamp in sorted(self.stamps.items())},
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> DirectoryRecord:
        """Read the JSON.

        Raises:
            RecordError: it is malformed.
        """
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise RecordError(where, f"its format is {document['format']!r}")
            return cls(
                path=_absolute(document["path"]),
                tree=parse_id(document["tree"]),
                layout=parse_id(document["layout"]),
                revision=str(document["revision"]),
                terms=read_terms(document["terms"]),
                stamps={name: _stamp(stamp) for name, stamp in document["stamps"].items()},
            )
        except MALFORMATIONS as error:
            raise RecordError(where, f"{type(error).__name__}: {error}") from None


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise ValueError(f"{text!r} is not an absolute path")
    return path


def terms_json(terms: tuple[Term, ...] | None) -> list[list[str]] | None:
    """Terms as they are stored; the scale to the last bit."""
    return None if terms is None else [[term.vector, term.scale.hex()] for term in terms]


def read_terms(found: list[list[str]] | None) -> tuple[Term, ...] | None:
    """The same, read."""
    return None if found is None else tuple(_term(*term) for term in found)


def _term(name: str, scale: str) -> Term:
    return Term(str(name), float.fromhex(scale))


def _stamp(found: list[int]) -> Stamp:
    size, modified, inode, changed = map(int, found)
    return Stamp(size, modified, inode, changed)


class DirectoryRecords:
    """The targets that a repository knows."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[DirectoryRecord]:
        """Every target whose record can be read, in the order of the paths."""
        found = (target for target in self._records() if isinstance(target, DirectoryRecord))
        return sorted(found, key=lambda target: target.path)

    def malformed(self) -> list[RecordError]:
        """What is wrong with each record that cannot be read, in the order of their files.

        Which directory such a record is of cannot be known.
        """
        found = (error for error in self._records() if isinstance(error, RecordError))
        return sorted(found, key=lambda error: error.where)

    def _records(self) -> Iterator[DirectoryRecord | RecordError]:
        for file in self._directory.glob("*.json"):
            try:
                yield DirectoryRecord.parse(file.read_bytes(), str(file))
            except RecordError as error:
                yield error
            except FileNotFoundError:  # it was forgotten meanwhile
                continue

    def find(self, path: Path) -> DirectoryRecord | None:
        """The target at a directory, or None.

        Raises:
            RecordError: its record is malformed.
        """
        file = self._file(path)
        if not file.exists():
            return None
        return DirectoryRecord.parse(file.read_bytes(), str(file))

    def save(self, target: DirectoryRecord) -> None:
        """Record what a directory holds now."""
        atomic.make_directory(self._directory)
        atomic.write_file(self._file(target.path), target.to_text().encode())

    def knows(self, path: Path) -> bool:
        """Whether there is a record of a directory, malformed or not."""
        return self._file(path).exists()

    def forget(self, path: Path) -> None:
        """Drop the record of a directory; the directory stays."""
        self._file(path).unlink(missing_ok=True)

    def _file(self, path: Path) -> Path:
        slug = re.sub(r"[^A-Za-z0-9_.-]", "_", path.name)[:60]
        digest = object_id(os.fsencode(path)).hex()[:12]
        return self._directory / f"{slug}-{digest}.json"
