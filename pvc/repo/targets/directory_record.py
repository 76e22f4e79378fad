"""Records of directories: the tree that pvc wrote there, and stamps of the files.

A file whose stamp is as it was is taken for unchanged; any other has to be read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.repo.targets.home import Home, Identity, read_path
from pvc.repo.targets.records import (
    MAX_REVISION,
    RecordError,
    Records,
    read_terms,
    terms_json,
)
from pvc.repo.trees.checked_file import checked_fields, checked_text
from pvc.weights.fingerprint import Fingerprint, Stamp

if TYPE_CHECKING:
    from pvc.repo.personality.personality_file import Term
    from pvc.strict_json import Fields

FORMAT = "pvc target 2"


@dataclass(frozen=True, slots=True)
class DirectoryRecord:
    """The weights that pvc last wrote to a directory.

    Attributes:
        home: the repository that wrote them.
        path: the directory, absolute.
        identity: device and inode of the directory; None while it is not there.
        tree: tree id of its weights.
        layout: layout id of its files.
        revision: what was checked out, as the user said it.
        terms: the terms of that personality, or None where it is not known.
        stamps: of its files as they were left; a file without one has to be read.
        first: whether pvc has never written another tree there.
    """

    home: Home
    path: Path
    identity: Identity | None
    tree: bytes
    layout: bytes
    revision: str
    terms: tuple[Term, ...] | None
    stamps: Fingerprint
    first: bool = True

    @property
    def where(self) -> str:
        """Which directory it is, for messages."""
        return str(self.path)

    def is_there(self) -> bool:
        """Whether the directory is at its path, and no link or other one in its place."""
        found = Identity.of(self.path)
        return found is not None and self.is_of(found)

    def is_of(self, found: Identity) -> bool:
        """Whether the directory at its path is the one that was written, by its identity.

        The device is not compared: a reboot can give devices other numbers, and what another
        file system holds at this path differs from the stamps.
        """
        return self.identity is not None and self.identity.inode == found.inode

    def to_text(self) -> str:
        """The JSON that is stored."""
        return checked_text(
            {
                "format": FORMAT,
                "home": self.home.to_json(),
                "path": self.home.stored(self.path),
                "identity": None if self.identity is None else self.identity.to_json(),
                "tree": self.tree.hex(),
                "layout": self.layout.hex(),
                "revision": self.revision,
                "terms": terms_json(self.terms),
                "stamps": {name: list(stamp) for name, stamp in sorted(self.stamps.items())},
                "first": self.first,
            }
        )

    @classmethod
    def parse(cls, text: str | bytes, where: str, home: Home) -> DirectoryRecord:
        """Read the JSON.

        Args:
            text: the JSON.
            where: the file it is from.
            home: the repository as it is now, which its relative paths begin at.

        Raises:
            RecordError: it is malformed.
        """
        fields = checked_fields(text, where, FORMAT, RecordError)
        record = cls(
            home=Home.read(fields),
            path=read_path(fields, "path", home),
            identity=None if fields.is_null("identity") else Identity.read(fields, "identity"),
            tree=fields.id("tree"),
            layout=fields.id("layout"),
            revision=fields.text("revision", MAX_REVISION),
            terms=read_terms(fields),
            stamps=_stamps(fields.part("stamps")),
            first=fields.has("first") and fields.flag("first"),
        )
        fields.finish()
        return record


def _stamps(fields: Fields) -> dict[str, Stamp]:
    return {name: Stamp(*_four(fields, name)) for name in fields.names()}


def _four(fields: Fields, name: str) -> tuple[int, int, int, int]:
    match fields.items(name):
        case [int(size), int(modified), int(inode), int(changed)]:
            return size, modified, inode, changed
    raise fields.wrong(f"the stamp of {name} is not four numbers")


class DirectoryRecords(Records[Path, DirectoryRecord]):
    """The directories that a repository has written; found by their absolute paths."""

    def _parse(self, text: bytes, where: str) -> DirectoryRecord:
        return DirectoryRecord.parse(text, where, self._home)

    def _key(self, record: DirectoryRecord) -> Path:
        return record.path

    def _at(self, record: DirectoryRecord, home: Home) -> DirectoryRecord:
        return replace(record, home=home)

    def _names(self, key: Path) -> tuple[str, bytes]:
        return key.name, os.fsencode(self._home.stored(key))
