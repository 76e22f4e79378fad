"""The parent that a trainer names in its own files: what training started from.

`trainer_state.json`, `training_args.json` and `args.json` are looked at, and in them these keys, at
the top or in a table `args`: `model_name_or_path`, `base_model_name_or_path`, `base_model`,
`_name_or_path`, `parent`; each names a directory.  A trainer that knows pvc writes the tree id of
its parent as `pvc_parent`, which goes before all of them.  A name that is relative is tried from
each directory above the result.

A file that a parent has too came along with its weights, and is not looked at; neither is
config.json: trainers copy it from the parent, with the parent's parent in it.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from pvc.errors import PvcError
from pvc_store.ids import IdError, parse_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pvc_store.layout import Layout

FILES = ("trainer_state.json", "training_args.json", "args.json")
KEYS = ("model_name_or_path", "base_model_name_or_path", "base_model", "_name_or_path", "parent")
TREE_KEY = "pvc_parent"
MAX_BYTES = 256 << 20


class ParentIdError(PvcError):
    """A trainer's file names a parent by something else than a tree id.

    Attributes:
        where: the file.
        found: what stands there.
    """

    def __init__(self, where: Path, found: object) -> None:
        self.where = where
        self.found = found
        super().__init__(
            f"{where} has {TREE_KEY} {found!r:.80}, which is no tree id of 64 hexadecimal digits."
        )


@dataclass(frozen=True, slots=True)
class NamedParents:
    """What the trainer's files name.

    Attributes:
        tree: the tree id that they give, if they agree on one.
        places: the directories that they may mean, without links.
        written: when the oldest of these files was written, in seconds since 1970.
    """

    tree: bytes | None
    places: tuple[Path, ...]
    written: float


def read_named_parents(directory: Path, inherited: Sequence[Layout]) -> NamedParents:
    """What a result's files name as its parent.

    Args:
        directory: the result.
        inherited: how its possible parents came as files; a file that one of them has too came
            along with its weights, and says nothing of this result.

    Raises:
        ParentIdError: one has no tree id where one belongs.
    """
    old = {(file.path, file.digest) for layout in inherited for file in layout.others}
    found: dict[Path, None] = {}
    trees: set[bytes] = set()
    written = math.inf
    for name in FILES:
        text = _read(directory / name)
        if text is None or (name, blake3(text).digest()) in old:
            continue
        document = _parsed(text)
        written = min(written, (directory / name).stat().st_mtime)
        trees |= _tree(document, directory / name)
        for named in _names(document):
            above = [] if Path(named).is_absolute() else directory.parents
            for place in (directory, *above):
                found[Path(os.path.realpath(place / named))] = None
    return NamedParents(trees.pop() if len(trees) == 1 else None, tuple(found), written)


def _read(path: Path) -> bytes | None:
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        return path.read_bytes()
    except OSError:
        return None


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _tree(document: dict[str, Any], where: Path) -> set[bytes]:
    if TREE_KEY not in document:
        return set()
    try:
        return {parse_id(document[TREE_KEY])}
    except (TypeError, IdError):
        raise ParentIdError(where, document[TREE_KEY]) from None


def _names(document: dict[str, Any]) -> Iterator[str]:
    for table in (document, document.get("args")):
        if isinstance(table, dict):
            for key in KEYS:
                named = table.get(key)
                if isinstance(named, str) and named and "\0" not in named:
                    yield named
