"""The journal: a note of what an operation does, by which the next command finishes or undoes it.

One file, written before the first change and removed after the last.  It holds no bytes of weights:
both the old and the new state of a target are in the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvc.errors import MalformedError
from pvc.repo.targets import engine_record
from pvc.repo.targets.directory_record import DirectoryRecord
from pvc.repo.targets.engine_record import EngineRecord
from pvc.repo.targets.home import Home, read_path
from pvc.repo.targets.records import RecordError
from pvc.repo.trees.checked_file import checked_fields, checked_text
from pvc.strict_json import Fields
from pvc_store import atomic

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.repository import Repository

FORMAT = "pvc journal 2"
MAX_RECORD = 64 << 20


class JournalError(MalformedError):
    """The journal cannot be read."""


@dataclass(frozen=True, slots=True)
class DirectoryWrite:
    """A directory that is being written.

    Attributes:
        after: its record once it is written; its stamps are there when all is written.  A new
            directory has its identity from when it is made, under the temporary name.
        before: its record before; None if it is created.
        base: tree id of the base that both are stored against.
        base_path: the directory that the base was read from, absolute.
        temporary: where it is being created, if it is.
    """

    after: DirectoryRecord
    before: DirectoryRecord | None
    base: bytes
    base_path: Path
    temporary: Path | None = None


@dataclass(frozen=True, slots=True)
class Journal:
    """One operation.

    Attributes:
        home: the repository.
        root: the working tree it runs in.
        head_before: branch, or commit if detached, that HEAD was at, and its commit.
        head_after: the same for the end; None where git is about to make the commit.
        writing: the directory that is being written, if any.
        records: target records to save once HEAD has moved; nothing is written to the targets.
    """

    home: Home
    root: Path
    head_before: tuple[str, str]
    head_after: tuple[str, str] | None
    writing: DirectoryWrite | None = None
    records: tuple[DirectoryRecord | EngineRecord, ...] = ()

    def to_text(self) -> str:
        """The JSON that is stored."""
        home = self.home
        return checked_text(
            {
                "format": FORMAT,
                "home": home.to_json(),
                "root": home.stored(self.root),
                "head_before": list(self.head_before),
                "head_after": None if self.head_after is None else list(self.head_after),
                "writing": None if self.writing is None else _writing_json(self.writing, home),
                "adopted": [target.to_text() for target in self.records],
            }
        )

    @classmethod
    def parse(cls, text: str | bytes, where: str, home: Home) -> Journal:
        """Read the JSON.

        Args:
            text: the JSON.
            where: the file it is from.
            home: the repository as it is now, which relative paths begin at.

        Raises:
            JournalError: it is malformed.
        """
        fields = checked_fields(text, where, FORMAT, JournalError)
        try:
            journal = cls(
                home=Home.read(fields),
                root=read_path(fields, "root", home),
                head_before=_head(fields, "head_before"),
                head_after=None if fields.is_null("head_after") else _head(fields, "head_after"),
                writing=None
                if fields.is_null("writing")
                else _writing(fields.part("writing"), where, home),
                records=tuple(
                    _target_record(item, where, home) for item in fields.items("adopted")
                ),
            )
        except RecordError as error:
            raise JournalError(where, error.detail) from None
        fields.finish()
        return journal


def _target_record(item: object, where: str, home: Home) -> DirectoryRecord | EngineRecord:
    if not isinstance(item, str):
        raise JournalError(where, f"{item!r} is no record of a target")
    if Fields.read(item, where, JournalError).text("format") == engine_record.FORMAT:
        return EngineRecord.parse(item, where)
    return DirectoryRecord.parse(item, where, home)


def _head(fields: Fields, name: str) -> tuple[str, str]:
    match fields.items(name):
        case [str(branch), str(commit)]:
            return branch, commit
    raise fields.wrong(f"its {name} is not a branch and a commit")


def _writing_json(writing: DirectoryWrite, home: Home) -> dict[str, Any]:
    return {
        "after": writing.after.to_text(),
        "before": None if writing.before is None else writing.before.to_text(),
        "base": writing.base.hex(),
        "origin": home.stored(writing.base_path),
        "temporary": None if writing.temporary is None else home.stored(writing.temporary),
    }


def _writing(fields: Fields, where: str, home: Home) -> DirectoryWrite:
    write = DirectoryWrite(
        after=_record(fields, "after", where, home),
        before=None if fields.is_null("before") else _record(fields, "before", where, home),
        base=fields.id("base"),
        base_path=read_path(fields, "origin", home),
        temporary=None if fields.is_null("temporary") else read_path(fields, "temporary", home),
    )
    fields.finish()
    return write


def _record(fields: Fields, name: str, where: str, home: Home) -> DirectoryRecord:
    return DirectoryRecord.parse(fields.text(name, MAX_RECORD), where, home)


class JournalFile:
    """Where a repository keeps its journal."""

    def __init__(self, repository: Repository) -> None:
        self.path = repository.folder / "journal.json"
        self._home = repository.home

    def read(self) -> Journal | None:
        """The operation that was left unfinished, or None."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return None
        return Journal.parse(text, str(self.path), self._home)

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
