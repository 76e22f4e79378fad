"""Targets that are directories: what pvc wrote there, and whether it still stands so.

One JSON file per target beside the store, so that worktrees share them and git does not see them.
Files are recognised as unchanged by their stamps; where these differ, only content decides.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.errors import MalformedError
from pvc.repo.personality.personality_file import Term
from pvc.strict_json import Fields
from pvc.weights.fingerprint import Fingerprint, Stamp, stamp_now
from pvc_store import atomic
from pvc_store.ids import object_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.repo.targets.directory import Content

FORMAT = "pvc target 1"
MAX_REVISION = 1 << 16
MAX_PATH = 1 << 16


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
        fields = Fields.read(text, where, RecordError)
        fields.format(FORMAT)
        record = cls(
            path=read_path(fields, "path"),
            tree=fields.id("tree"),
            layout=fields.id("layout"),
            revision=fields.text("revision", MAX_REVISION),
            terms=read_terms(fields),
            stamps=_stamps(fields.part("stamps")),
        )
        fields.finish()
        return record


def read_path(fields: Fields, name: str) -> Path:
    """An absolute path."""
    text = fields.text(name, MAX_PATH)
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise fields.wrong(f"its {name} {text!r} is not an absolute path")
    return path


def terms_json(terms: tuple[Term, ...] | None) -> list[list[str]] | None:
    """Terms as they are stored; the scale to the last bit."""
    return None if terms is None else [[term.vector, term.scale.hex()] for term in terms]


def read_terms(fields: Fields) -> tuple[Term, ...] | None:
    """The field `terms`, read."""
    if fields.is_null("terms"):
        return None
    return tuple(_term(item, fields) for item in fields.items("terms"))


def _term(item: object, fields: Fields) -> Term:
    match item:
        case [str(name), str(scale)]:
            with contextlib.suppress(ValueError, OverflowError):
                return Term(name, float.fromhex(scale))
    raise fields.wrong(f"{item!r} is no term")


def _stamps(fields: Fields) -> dict[str, Stamp]:
    return {name: Stamp(*_four(fields, name)) for name in fields.names()}


def _four(fields: Fields, name: str) -> tuple[int, int, int, int]:
    match fields.items(name):
        case [int(size), int(modified), int(inode), int(changed)]:
            return size, modified, inode, changed
    raise fields.wrong(f"the stamp of {name} is not four numbers")


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
