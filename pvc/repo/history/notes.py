"""Notes on commits: the tree and the layout that a commit builds to.  See docs/format/note.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pvc.repo.personality.formula import Built
from pvc_store.ids import IdError, parse_id

if TYPE_CHECKING:
    from pvc.repo.repository import Repository


def write_note(repository: Repository, commit: str, built: Built) -> None:
    """Note what a commit builds to, for people and for other clones."""
    note = {"tree": built.tree.hex(), "layout": built.layout.hex()}
    repository.git.add_note(commit, json.dumps(note, sort_keys=True))


def read_note(repository: Repository, commit: str) -> Built | None:
    """What a commit was built to, as noted; None if it was not, or the note is not pvc's."""
    text = repository.git.note(commit)
    try:
        note = json.loads(text or "null")
        return Built(parse_id(note["tree"]), parse_id(note["layout"]))
    except (ValueError, TypeError, KeyError, IdError):
        return None
