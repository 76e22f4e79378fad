"""Targets that are engines: what pvc last wrote to one, or read from it.

One JSON file per engine in `targets/engines`, beside the records of directories.  The engine itself
knows more of what it holds, as long as it runs; the record knows the terms, and what was there
before the process ended.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.repo.targets.directory_record import MAX_REVISION, RecordError, read_terms, terms_json
from pvc.strict_json import Fields
from pvc_store import atomic
from pvc_store.ids import object_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pvc.repo.personality.personality_file import Term

FORMAT = "pvc engine target 1"


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What an engine held at a moment.

    Attributes:
        engine: its name.
        process: the process, in a way that no other one has.
        generation: how often pvc had written to it.
        stamp: what its framework had counted of its own writes.
        tree: tree id of its weights.
        layout: layout id by which they become files.
        revision: what was checked out, as the user said it; after a commit, the vector.
        terms: the terms of that personality, or None where it is not known.
    """

    engine: str
    process: str
    generation: int
    stamp: int
    tree: bytes
    layout: bytes
    revision: str
    terms: tuple[Term, ...] | None

    @property
    def where(self) -> str:
        """What it is, for messages."""
        return f"the engine {self.engine}"

    def to_text(self) -> str:
        """The JSON that is stored."""
        document = {
            "format": FORMAT,
            "engine": self.engine,
            "process": self.process,
            "generation": self.generation,
            "stamp": self.stamp,
            "tree": self.tree.hex(),
            "layout": self.layout.hex(),
            "revision": self.revision,
            "terms": terms_json(self.terms),
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> EngineRecord:
        """Read the JSON.

        Raises:
            RecordError: it is malformed.
        """
        fields = Fields.read(text, where, RecordError)
        fields.format(FORMAT)
        record = cls(
            engine=fields.text("engine"),
            process=fields.text("process"),
            generation=fields.number("generation"),
            stamp=fields.number("stamp"),
            tree=fields.id("tree"),
            layout=fields.id("layout"),
            revision=fields.text("revision", MAX_REVISION),
            terms=read_terms(fields),
        )
        fields.finish()
        return record


class EngineRecords:
    """The engines that a repository knows.

    Args:
        directory: where their records are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[EngineRecord]:
        """Every engine whose record can be read, by name."""
        found = (target for target in self._records() if isinstance(target, EngineRecord))
        return sorted(found, key=lambda target: target.engine)

    def malformed(self) -> list[RecordError]:
        """What is wrong with each record that cannot be read."""
        found = (error for error in self._records() if isinstance(error, RecordError))
        return sorted(found, key=lambda error: error.where)

    def _records(self) -> Iterator[EngineRecord | RecordError]:
        for file in self._directory.glob("*.json"):
            try:
                yield EngineRecord.parse(file.read_bytes(), str(file))
            except RecordError as error:
                yield error
            except FileNotFoundError:  # it was forgotten meanwhile
                continue

    def find(self, engine: str) -> EngineRecord | None:
        """The record of an engine, or None.

        Raises:
            RecordError: it is malformed.
        """
        file = self._file(engine)
        if not file.exists():
            return None
        return EngineRecord.parse(file.read_bytes(), str(file))

    def save(self, target: EngineRecord) -> None:
        """Record what an engine holds now."""
        atomic.make_directory(self._directory)
        atomic.write_file(self._file(target.engine), target.to_text().encode())

    def knows(self, engine: str) -> bool:
        """Whether there is a record of an engine, malformed or not."""
        return self._file(engine).exists()

    def forget(self, engine: str) -> None:
        """Drop the record of an engine."""
        self._file(engine).unlink(missing_ok=True)

    def _file(self, engine: str) -> Path:
        slug = re.sub(r"[^A-Za-z0-9_.-]", "_", engine)[:60]
        return self._directory / f"{slug}-{object_id(engine.encode()).hex()[:12]}.json"
