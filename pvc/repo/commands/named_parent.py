"""The parent that a trainer names in its own files: the directory that training started from.

`trainer_state.json`, `training_args.json` and `args.json` are looked at, and in them these keys, at
the top or in a table `args`: `model_name_or_path`, `base_model_name_or_path`, `base_model`,
`_name_or_path`, `parent`.  A name that is relative is tried from each directory above the result.
config.json is not looked at: trainers copy it from the parent, with the parent's parent in it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pvc_store.layout import Layout

FILES = ("trainer_state.json", "training_args.json", "args.json")
KEYS = ("model_name_or_path", "base_model_name_or_path", "base_model", "_name_or_path", "parent")
MAX_BYTES = 1 << 26


def named_parents(directory: Path, inherited: Sequence[Layout]) -> tuple[Path, ...]:
    """The directories that a result's files may mean by its parent, without links.

    Args:
        directory: the result.
        inherited: how its possible parents came as files; a file that one of them has too came
            along with its weights, and says nothing of this result.
    """
    old = {(file.path, file.digest) for layout in inherited for file in layout.others}
    found: dict[Path, None] = {}
    for name in FILES:
        text = _read(directory / name)
        if text is None or (name, blake3(text).digest()) in old:
            continue
        for named in _names(text):
            above = [] if Path(named).is_absolute() else directory.parents
            for place in (directory, *above):
                found[Path(os.path.realpath(place / named))] = None
    return tuple(found)


def _read(path: Path) -> bytes | None:
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        return path.read_bytes()
    except OSError:
        return None


def _names(text: bytes) -> Iterator[str]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(document, dict):
        return
    for table in (document, document.get("args")):
        if isinstance(table, dict):
            for key in KEYS:
                named = table.get(key)
                if isinstance(named, str) and named and "\0" not in named:
                    yield named
