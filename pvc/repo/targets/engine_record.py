"""Records of engines: what pvc last wrote to one, or read from it.

A running engine tells its own state, which is newer; the record adds the terms, and outlives the
process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.repo.targets.home import Home
from pvc.repo.targets.records import (
    MAX_REVISION,
    RecordError,
    Records,
    read_terms,
    terms_json,
)
from pvc.repo.trees.checked_file import checked_fields, checked_text

if TYPE_CHECKING:
    from pvc.repo.personality.personality_file import Term

FORMAT = "pvc engine target 2"


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """The weights of an engine when pvc last wrote to it or read it.

    Attributes:
        home: the repository that wrote or read them.
        engine: its name.
        process: the process, in a way that no other one has.
        generation: number of updates by pvc.
        stamp: the framework's count of its own writes.
        tree: tree id of its weights.
        layout: layout id by which they become files.
        revision: what was checked out, as the user said it; after a commit, the vector.
        terms: the terms of that personality, or None where it is not known.
    """

    home: Home
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
        return checked_text(
            {
                "format": FORMAT,
                "home": self.home.to_json(),
                "engine": self.engine,
                "process": self.process,
                "generation": self.generation,
                "stamp": self.stamp,
                "tree": self.tree.hex(),
                "layout": self.layout.hex(),
                "revision": self.revision,
                "terms": terms_json(self.terms),
            }
        )

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> EngineRecord:
        """Read the JSON.

        Raises:
            RecordError: it is malformed.
        """
        fields = checked_fields(text, where, FORMAT, RecordError)
        record = cls(
            home=Home.read(fields),
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


class EngineRecords(Records[str, EngineRecord]):
    """The engines that a repository has written to, or read; found by their names."""

    def _parse(self, text: bytes, where: str) -> EngineRecord:
        return EngineRecord.parse(text, where)

    def _key(self, record: EngineRecord) -> str:
        return record.engine

    def _at(self, record: EngineRecord, home: Home) -> EngineRecord:
        return replace(record, home=home)

    def _names(self, key: str) -> tuple[str, bytes]:
        return key, key.encode()
