"""The state of an engine: where its weights come from, and whether its steps may go on."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvc.errors import PvcError
from pvc_store.ids import ID_BYTES

if TYPE_CHECKING:
    from pvc.strict_json import Fields


class OtherRepositoryError(PvcError):
    """The engine's weights were checked out from another repository.

    Attributes:
        found: that repository.
        wanted: the one that now wants to write.
    """

    def __init__(self, found: str, wanted: str) -> None:
        self.found = found
        self.wanted = wanted
        super().__init__(f"The engine holds weights of the repository {found}, not of {wanted}.")


class Phase(enum.Enum):
    """Whether the weights of an engine are those of one tree, so that its steps may go on."""

    STEADY = "steady"
    """They are, but for what the engine's own process writes to them; steps go on."""

    WRITING = "writing"
    """An update is being written; steps wait until it is done."""

    TORN = "torn"
    """An update failed after it had begun to write; steps wait until a checkout repairs it."""


LOADED = "loaded"
"""The version of weights that an engine was started with."""


@dataclass(frozen=True, slots=True)
class ContentLabel:
    """Where the weights of an engine come from.

    Attributes:
        tree: tree id.
        repository: the repository that wrote them.
        revision: what was checked out: a branch, tag, commit, vector or expression.
    """

    tree: bytes
    repository: str
    revision: str

    @property
    def version(self) -> str:
        """The tree in a word, for those who ask an engine which weights it has."""
        return f"pvc:{self.tree.hex()}"

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
    """What an engine knows of its weights; only reading them can prove it.

    Attributes:
        origin: what was last checked out into it; None before the first time.
        generation: how often pvc has written to it.
        stamp: sum of torch's version counters over all shared tensors.
        touched: names of the tensors to which torch wrote since `origin` was checked out, or since
            the start.
        phase: whether its steps may go on.
        torn: why an update failed after it had begun to write; None unless `phase` is TORN.
        holder: process id of the client whose update is prepared, or None.
        paused: microseconds for which the last commit held steps back.
        held: who keeps others from changing it, for people; None if nobody does.
    """

    origin: ContentLabel | None
    generation: int
    stamp: int
    touched: tuple[str, ...]
    phase: Phase
    torn: str | None
    holder: int | None
    paused: int
    held: str | None = None

    @property
    def dirty(self) -> bool:
        """Whether torch wrote to any tensor since."""
        return bool(self.touched)

    @property
    def version(self) -> str:
        """Its weights in a word: "pvc:" and the tree id, or "loaded" before pvc wrote any.

        "+changed" follows if torch wrote to them since.
        """
        tree = LOADED if self.origin is None else self.origin.version
        return f"{tree}+changed" if self.dirty else tree

    @property
    def pause(self) -> str | None:
        """Why steps wait, for people; None if they do not."""
        return "an update is being written" if self.phase is Phase.WRITING else self.torn

    def to_json(self) -> dict[str, Any]:
        """Its form in messages."""
        return {
            "origin": None if self.origin is None else self.origin.to_json(),
            "generation": self.generation,
            "stamp": self.stamp,
            "touched": self.touched,
            "phase": self.phase.value,
            "torn": self.torn,
            "holder": self.holder or 0,
            "paused": self.paused,
            "held": self.held,
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
            phase=_phase(fields),
            torn=fields.optional_text("torn"),
            holder=fields.number("holder") or None,
            paused=fields.number("paused"),
            held=fields.optional_text("held"),
        )
        fields.finish()
        if (found.torn is not None) != (found.phase is Phase.TORN):
            raise fields.wrong(
                f"its phase is {found.phase.value}, which its field torn contradicts"
            )
        return found


def _phase(fields: Fields) -> Phase:
    text = fields.text("phase")
    try:
        return Phase(text)
    except ValueError:
        raise fields.wrong(f"its phase is {text[:60]!r}, which is unknown") from None
