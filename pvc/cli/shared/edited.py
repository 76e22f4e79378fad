"""The result of a change to the text files, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvc.cli.output import current

if TYPE_CHECKING:
    from pvc.repo.commands.editing import Edited


def answer(done: Edited) -> None:
    """Write the result of a change."""
    current().answer(document(done), lines(done))


def document(done: Edited) -> dict[str, Any]:
    """The fields of a change."""
    return {
        "commit": done.commit,
        "message": done.message,
        "personality": str(done.personality),
        "paths": list(done.paths),
    }


def lines(done: Edited) -> list[str]:
    """A change in two lines."""
    return [done.message, f"[{done.commit[:10]}] {done.personality}"]
