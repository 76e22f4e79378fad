"""The journal: a note of what an operation does, by which the next command finishes or undoes it.

One file, written before the first change and removed after the last.  It holds no bytes of weights:
both the old and the new state of a target are in the store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvc.errors import MalformedError
from pvc.repo.targets import engine_record
from pvc.repo.targets.directory_record import DirectoryRecord, read_path
from pvc.repo.targets.engine_record import EngineRecord
from pvc.repo.targets.records import RecordError
from pvc.strict_json import Fields
from pvc_store import atomic

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "pvc journal 1"
MAX_RECORD = 64 << 20
MAX_INODE = (1 << 64) - 1


class JournalError(MalformedError):
    """The journal cannot be read."""


@dataclass(frozen=True, slots=True)
class DirectoryWrite:
    """A directory that is being written.

    Attributes:
        after: its record once it is written; the stamps are empty.
        before: its record before; None if it is created.
        base: tree id of the base that both are stored against.
        base_path: the directory that the base was read from, absolute.
        temporary: where it is being created, if it is.
        inode: of that temporary directory, which a rename keeps; 0 before it is there.
    """

    after: DirectoryRecord
    before: DirectoryRecord | None
    base: bytes
    base_path: Path
    temporary: Path | None = None
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Journal:
    """One operation.

    Attributes:
        root: the working tree it runs in.
        head_before: branch, or commit if detached, that HEAD was at, and its commit.
        head_after: the same for the end; None where git is about to make the commit.
        writing: the directory that is being written, if any.
        records: target records to save once HEAD has moved; nothing is written to the targets.
    """

    root: Path
    head_before: tuple[str, str]
    head_after: tuple[str, str] | None
    writing: DirectoryWrite | None = None
    records: tuple[DirectoryRecord | EngineRecord, ...] = ()

    def to_text(self) -> str:
        """The JSON that is stored."""
        return json.dumps(
            {
                "format": FORMAT,
                "root": str(self.root),
                "head_before": self.head_before,
                "head_after": self.head_after,
                "writing": None if self.writing is None else _writing_json(self.writing),
                "adopted": [target.to_text() for target in self.records],
            }
        )

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Journal:
        """Read the JSON.

        Raises:
            JournalError: it is malformed.
        """
        fields = Fields.read(text, where, JournalError)
        fields.format(FORMAT)
        try:
            journal = cls(
                root=read_path(fields, "root"),
                head_before=_head(fields, "head_before"),
                head_after=None if fields.is_null("head_after") else _head(fields, "head_after"),
                writing=None
                if fields.is_null("writing")
                else _writing(fields.part("writing"), where),
                records=tuple(_target_record(item, where) for item in fields.items("adopted")),
            )
        except RecordError as error:
            raise JournalError(where, error.detail) from None
        fields.finish()
        return journal


def _target_record(item: object, where: str) -> DirectoryRecord | EngineRecord:
    if not isinstance(item, str):
        raise JournalError(where, f"{item!r} is no record of a target")
    of_engine = Fields.read(item, where, JournalError).text("format") == engine_record.FORMAT
    return (EngineRecord if of_engine else DirectoryRecord).parse(item, where)


def _head(fields: Fields, name: str) -> tuple[str, str]:
    match fields.items(name):
        case [str(branch), str(commit)]:
            return branch, commit
    raise fields.wrong(f"its {name} is not a branch and a commit")


def _writing_json(writing: DirectoryWrite) -> dict[str, Any]:
    return {
        "after": writing.after.to_text(),
        "before": None if writing.before is None else writing.before.to_text(),
        "base": writing.base.hex(),
        "origin": str(writing.base_path),
        "temporary": None if writing.temporary is None else str(writing.temporary),
        "inode": writing.inode,
    }


def _writing(fields: Fields, where: str) -> DirectoryWrite:
    write = DirectoryWrite(
        after=_record(fields, "after", where),
        before=None if fields.is_null("before") else _record(fields, "before", where),
        base=fields.id("base"),
        base_path=read_path(fields, "origin"),
        temporary=None if fields.is_null("temporary") else read_path(fields, "temporary"),
        inode=fields.number("inode", MAX_INODE),
    )
    fields.finish()
    return write


def _record(fields: Fields, name: str, where: str) -> DirectoryRecord:
    return DirectoryRecord.parse(fields.text(name, MAX_RECORD), where)


class JournalFile:
    """Where a repository keeps its journal."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.json"

    def read(self) -> Journal | None:
        """The operation that was left unfinished, or None."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return None
        return Journal.parse(text, str(self.path))

    def exists(self) -> bool:
        """Whether an operation was left unfinished."""
        return self.path.exists()

    def began(self) -> int:
        """When the unfinished operation began, in nanoseconds since 1970."""
        return self.path.stat().st_mtime_ns

    def begin(self, journal: Journal) -> None:
        """Write the journal, before anything else is changed."""
        atomic.write_file(self.path, journal.to_text().encode())

    def end(self) -> None:
        """Remove the journal: the operation is done, or undone."""
        self.path.unlink(missing_ok=True)
        atomic.sync_directory(self.path.parent)
