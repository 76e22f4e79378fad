"""What an engine holds, as far as it knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvc_store.ids import ID_BYTES

if TYPE_CHECKING:
    from pvc.strict_json import Fields


@dataclass(frozen=True, slots=True)
class ContentLabel:
    """Where the weights of an engine come from.

    Attributes:
        tree: tree id.
        repository: the repository that wrote them.
        revision: what was checked out, as the user said it.
    """

    tree: bytes
    repository: str
    revision: str

    def to_json(self) -> dict[str, Any]:
        """Its form in messages."""
        return {
            "tree": self.tree.hex(),
            "repository": self.repository,
            "revision": self.revision,
        }

    @classmethod
    def parse(cls, fields: Fields) -> ContentLabel:
        """Read the form in messages."""
        return cls(fields.raw("tree", ID_BYTES), fields.text("repository"), fields.text("revision"))


@dataclass(frozen=True, slots=True)
class EngineState:
    """What an engine holds, as far as it knows; only its content can prove it.

    Attributes:
        origin: what was last checked out into it; None before the first time.
        generation: how often pvc has written to it.
        stamp: counts what torch has written to its tensors in place.
        touched: names of the tensors to which torch wrote since `origin` was checked out, or since
            the start.
        torn: why its weights are of no tree, or None; steps wait until they are repaired.
        holder: process id of the client whose update is prepared, or None.
        paused: microseconds for which the last commit held steps back.
    """

    origin: ContentLabel | None
    generation: int
    stamp: int
    touched: tuple[str, ...]
    torn: str | None
    holder: int | None
    paused: int

    @property
    def dirty(self) -> bool:
        """Whether torch wrote to any tensor since."""
        return bool(self.touched)

    def to_json(self) -> dict[str, Any]:
        """Its form in messages."""
        return {
            "origin": None if self.origin is None else self.origin.to_json(),
            "generation": self.generation,
            "stamp": self.stamp,
            "touched": self.touched,
            "torn": self.torn,
            "holder": self.holder or 0,
            "paused": self.paused,
        }

    @classmethod
    def parse(cls, fields: Fields) -> EngineState:
        """Read the form in messages."""
        part = fields.optional_part("origin")
        origin = None if part is None else ContentLabel.parse(part)
        if part is not None:
            part.finish()
        found = cls(
            origin=origin,
            generation=fields.number("generation"),
            stamp=fields.number("stamp"),
            touched=fields.texts("touched"),
            torn=fields.optional_text("torn"),
            holder=fields.number("holder") or None,
            paused=fields.number("paused"),
        )
        fields.finish()
        return found
