"""The journal: what an operation is about to do, so that the next command can finish or undo it.

One file, written before the first change and removed after the last.  It holds no bytes of weights:
both the old and the new state of a target are in the store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvc.errors import MalformedError
from pvc.repo.targets import engine_record
from pvc.repo.targets.directory_record import DirectoryRecord, RecordError
from pvc.repo.targets.engine_record import EngineRecord
from pvc.strict_json import MALFORMATIONS
from pvc_store import atomic
from pvc_store.ids import parse_id

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "pvc journal 1"


class JournalError(MalformedError):
    """The journal cannot be read."""


@dataclass(frozen=True, slots=True)
class DirectoryWrite:
    """A directory that is being written.

    Attributes:
        after: what it is to hold; its stamps are empty.
        before: what it held, or None if it is to be created.
        base: tree id of the base that both are stored against.
        origin: the directory that the base was read from, absolute.
        temporary: where it is being created, if it is.
        inode: of that temporary directory, which a rename keeps; 0 before it is there.
    """

    after: DirectoryRecord
    before: DirectoryRecord | None
    base: bytes
    origin: Path
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
        adopted: what directories and engines will be known to hold once HEAD has moved; nothing is
            written to them, least of all if HEAD has not.
    """

    root: Path
    head_before: tuple[str, str]
    head_after: tuple[str, str] | None
    writing: DirectoryWrite | None = None
    adopted: tuple[DirectoryRecord | EngineRecord, ...] = ()

    def to_text(self) -> str:
        """The JSON that is stored."""
        return json.dumps(
            {
                "format": FORMAT,
                "root": str(self.root),
                "head_before": self.head_before,
                "head_after": self.head_after,
                "writing": None if self.writing is None else _writing_json(self.writing),
                "adopted": [target.to_text() for target in self.adopted],
            }
        )

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Journal:
        """Read the JSON.

        Raises:
            JournalError: it is malformed.
        """
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise JournalError(where, f"its format is {document['format']!r}")
            after, writing = document["head_after"], document["writing"]
            return cls(
                root=Path(document["root"]),
                head_before=_pair(document["head_before"]),
                head_after=None if after is None else _pair(after),
                writing=None if writing is None else _writing(writing, where),
                adopted=tuple(_adopted(target, where) for target in document["adopted"]),
            )
        except (*MALFORMATIONS, RecordError) as error:
            raise JournalError(where, f"{type(error).__name__}: {error}") from None


def _adopted(text: str, where: str) -> DirectoryRecord | EngineRecord:
    of_engine = json.loads(text)["format"] == engine_record.FORMAT
    return (EngineRecord if of_engine else DirectoryRecord).parse(text, where)


def _pair(found: list[str]) -> tuple[str, str]:
    name, commit = map(str, found)
    return name, commit


def _writing_json(writing: DirectoryWrite) -> dict[str, Any]:
    return {
        "after": writing.after.to_text(),
        "before": None if writing.before is None else writing.before.to_text(),
        "base": writing.base.hex(),
        "origin": str(writing.origin),
        "temporary": None if writing.temporary is None else str(writing.temporary),
        "inode": writing.inode,
    }


def _writing(found: Mapping[str, Any], where: str) -> DirectoryWrite:
    before, temporary = found["before"], found["temporary"]
    return DirectoryWrite(
        after=DirectoryRecord.parse(found["after"], where),
        before=None if before is None else DirectoryRecord.parse(before, where),
        base=parse_id(found["base"]),
        origin=Path(found["origin"]),
        temporary=None if temporary is None else Path(temporary),
        inode=int(found["inode"]),
    )


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
        """Write down what is about to happen."""
        atomic.write_file(self.path, journal.to_text().encode())

    def end(self) -> None:
        """It has happened, or has been undone."""
        self.path.unlink(missing_ok=True)
        atomic.sync_directory(self.path.parent)
