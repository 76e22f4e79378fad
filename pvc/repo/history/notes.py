"""Notes on commits: the tree and the layout that a commit builds to.  See docs/format/note.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pvc.repo.personality.formula import ROUNDING, Built
from pvc_store.ids import IdError, parse_id

if TYPE_CHECKING:
    from pvc.repo.repository import Repository


def write_note(repository: Repository, commit: str, built: Built) -> None:
    """Note what a commit builds to, for people and for other clones."""
    note = {"tree": built.tree.hex(), "layout": built.layout.hex(), "rounding": ROUNDING}
    repository.git.add_note(commit, json.dumps(note, sort_keys=True))


def read_note(repository: Repository, commit: str) -> Built | None:
    """What a commit was built to, as noted; None if it was not, or the note is not pvc's."""
    return _read(repository, commit)[0]


def is_current(repository: Repository, commit: str) -> bool:
    """Whether a commit has a note, of a tree that is computed to the same bits today."""
    built, rounding = _read(repository, commit)
    return built is not None and rounding == ROUNDING


def _read(repository: Repository, commit: str) -> tuple[Built | None, int]:
    text = repository.git.note(commit)
    try:
        note = json.loads(text or "null")
        built = Built(parse_id(note["tree"]), parse_id(note["layout"]))
        return built, int(note.get("rounding", 1))
    except (ValueError, TypeError, KeyError, IdError):
        return None, 0
