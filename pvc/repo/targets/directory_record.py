"""Records of directories: the tree that pvc wrote there, and stamps of the files.

A file whose stamp is as it was is taken for unchanged; any other has to be read.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.repo.targets.records import (
    MAX_REVISION,
    RecordError,
    Records,
    read_terms,
    terms_json,
)
from pvc.strict_json import Fields
from pvc.weights.fingerprint import Fingerprint, Stamp, stamp_now

if TYPE_CHECKING:
    from pvc.repo.personality.personality_file import Term
    from pvc_store.layout import Layout

FORMAT = "pvc target 1"
MAX_PATH = 1 << 16


@dataclass(frozen=True, slots=True)
class DirectoryRecord:
    """The weights that pvc last wrote to a directory.

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

    def stamped(self, layout: Layout) -> DirectoryRecord:
        """The same, with the stamps that the files of its layout have now."""
        paths = sorted(file.path for file in layout.files)
        found = ((path, stamp_now(self.path / path)) for path in paths)
        return replace(self, stamps={path: stamp for path, stamp in found if stamp is not None})

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
        return DirectoryRecord.parse(text, where)

    def _key(self, record: DirectoryRecord) -> Path:
        return record.path

    def _names(self, key: Path) -> tuple[str, bytes]:
        return key.name, os.fsencode(key)
