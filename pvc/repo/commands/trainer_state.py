"""`trainer_state.json`, as trainers leave it beside a checkpoint: what the run began at.

A trainer that knows writes the tree id of its parent as `pvc_parent`; other fields are the
trainer's own, and are not read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pvc_store.ids import IdError, parse_id

if TYPE_CHECKING:
    from pathlib import Path

NAME = "trainer_state.json"
FIELD = "pvc_parent"
MAX_BYTES = 256 << 20


def parent_of(directory: Path) -> bytes | None:
    """The tree id of what a checkpoint was trained from, or None if nothing readable says it."""
    file = directory / NAME
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        found = json.loads(file.read_bytes())
        return parse_id(found[FIELD])
    except (OSError, ValueError, RecursionError, KeyError, TypeError, IdError):
        return None
