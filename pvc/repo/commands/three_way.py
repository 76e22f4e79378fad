"""Three-way merge of terms and vectors: values that one side alone changed win.

Works on any mapping whose values are compared whole; order follows ours, and what theirs adds comes
behind the term that it follows there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from pvc.errors import PvcError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc.repo.personality.personality_file import Term

V = TypeVar("V")
Side = Literal["ours", "theirs"]


class ConflictError(PvcError):
    """Both sides changed the same thing in different ways.

    Attributes:
        what: the change, such as a revert.
        names: the terms, vectors or files in conflict.
    """

    def __init__(self, what: str, names: tuple[str, ...]) -> None:
        self.what = what
        self.names = names
        super().__init__(f"{what} conflicts with what is there: {'; '.join(names)}.")


@dataclass(frozen=True, slots=True)
class Merged(Generic[V]):
    """The outcome of a three-way merge.

    Attributes:
        values: what both sides agree on, or one side alone changed.
        conflicts: for the rest: old, our and their value, None where there is none.
    """

    values: dict[str, V]
    conflicts: dict[str, tuple[V | None, V | None, V | None]]


def merge(
    old: Mapping[str, V],
    ours: Mapping[str, V],
    theirs: Mapping[str, V],
    favour: Side | None = None,
) -> Merged[V]:
    """Merge two changes of one mapping.

    Args:
        old: what both started from.
        ours: one side.
        theirs: the other one.
        favour: the side whose value is taken where both changed the same; None keeps conflicts.
    """
    values: dict[str, V] = {}
    conflicts = {}
    for key in _ordered(ours, theirs):
        before, our, their = old.get(key), ours.get(key), theirs.get(key)
        conflict = our != before and their not in (before, our)
        if conflict and favour is None:
            conflicts[key] = (before, our, their)
            continue
        chosen = their if our == before or (conflict and favour == "theirs") else our
        if chosen is not None:
            values[key] = chosen
    return Merged(values, conflicts)


def _ordered(ours: Mapping[str, V], theirs: Mapping[str, V]) -> list[str]:
    keys = list(ours)
    previous = -1
    for key in theirs:
        if key in ours:
            previous = keys.index(key)
        else:
            previous += 1
            keys.insert(previous, key)
    return keys


def keyed(terms: tuple[Term, ...]) -> dict[str, Term]:
    """Terms by name; a vector that occurs again has its count in its name."""
    seen: Counter[str] = Counter()
    found = {}
    for term in terms:
        seen[term.vector] += 1
        count = seen[term.vector]
        found[term.vector if count == 1 else f"{term.vector} ({count})"] = term
    return found
