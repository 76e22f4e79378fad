"""How a change of text files is written out; several commands make one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.cli.output import current

if TYPE_CHECKING:
    from pvc.repo.edits import Edited


def answer(done: Edited) -> None:
    """Write what a change did."""
    document = {
        "commit": done.commit,
        "message": done.message,
        "personality": str(done.personality),
        "paths": list(done.paths),
    }
    lines = [done.message, f"[{done.commit[:10]}] {done.personality}"]
    current().answer(document, lines)
