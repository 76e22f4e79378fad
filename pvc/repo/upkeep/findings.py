"""Findings: broken objects, and what depends on them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken object.

    Attributes:
        what: sort of object: "git", "manifest", "journal", "target", "tree", "layout", "pack",
            "base", "block" or "tensor".
        name: which one.
        detail: one sentence.
        dependents: vectors with their commits, "the base", targets.
    """

    what: str
    name: str
    detail: str
    dependents: tuple[str, ...] = ()


class Findings:
    """Collects findings; several threads may add to it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}
        self._lock = threading.Lock()

    def add(self, what: str, name: str, detail: str, dependents: Iterable[str] = ()) -> None:
        """Add one; what is broken for several reasons or dependents is named once."""
        with self._lock:
            known = self._found.get((what, name))
            together = {*dependents, *(known.dependents if known else ())}
            first = known.detail if known else detail
            self._found[what, name] = Finding(what, name, first, tuple(sorted(together)))

    def all(self) -> tuple[Finding, ...]:
        """All of them, in the order in which they were found."""
        return tuple(self._found.values())
