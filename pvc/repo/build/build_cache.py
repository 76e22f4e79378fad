"""The trees that formulas were computed to, found again by the formula's digest.

Where a tree's blocks are stored, its file is a cache.  Where they went to a directory only, the
file says how to have them again.  What is missing or damaged is taken for not known.  When a file
was last used is its time of modification.  Format page: docs/format/built.md.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pvc.repo.personality.formula import ARITHMETIC, Formula
from pvc.repo.personality.formula_file import formula_json, read_formula
from pvc.strict_json import MALFORMATIONS
from pvc_store import atomic
from pvc_store.ids import object_id, parse_id

if TYPE_CHECKING:
    from pathlib import Path

    from pvc_store.tree import Tree

FORMAT = "pvc built tree 1"


@dataclass(frozen=True, slots=True)
class BuiltTree:
    """A computed tree.

    Attributes:
        formula: how it is computed.
        tree: what it was computed to.
        packs: those written for it.  Other trees may have come to need blocks of theirs.
    """

    formula: Formula
    tree: bytes
    packs: tuple[bytes, ...]

    @property
    def digest(self) -> bytes:
        """That of the formula."""
        return self.formula.digest()

    def to_text(self) -> str:
        """The JSON that is stored."""
        document = {
            "format": FORMAT,
            "arithmetic": ARITHMETIC,
            "formula": formula_json(self.formula),
            "tree": self.tree.hex(),
            "packs": [pack.hex() for pack in self.packs],
        }
        return json.dumps({**document, "check": _check(document)}) + "\n"

    @classmethod
    def parse(cls, text: str | bytes) -> BuiltTree | None:
        """Read the JSON; None if it is damaged, or of another format or arithmetic."""
        try:
            document = json.loads(text)
            check = document.pop("check")
            known = (document["format"], document["arithmetic"]) == (FORMAT, ARITHMETIC)
            if not known or check != _check(document):
                return None
            packs = tuple(map(parse_id, document["packs"]))
            return cls(read_formula(document["formula"]), parse_id(document["tree"]), packs)
        except MALFORMATIONS:
            return None


def _check(document: dict[str, Any]) -> str:
    return object_id(json.dumps(document, sort_keys=True).encode()).hex()


class BuiltTrees:
    """Files of what formulas were computed to.

    Args:
        folder: the store's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "built"

    def read(self, digest: bytes) -> BuiltTree | None:
        """What a formula was computed to, or None if that is not known."""
        try:
            found = BuiltTree.parse(self._file(digest).read_bytes())
        except OSError:
            return None
        return found if found is not None and found.digest == digest else None

    def write(self, built: BuiltTree) -> None:
        """Keep what a formula was computed to; packs that were known for it stay known."""
        known = self.read(built.digest)
        packs = dict.fromkeys((*(known.packs if known else ()), *built.packs))
        built = replace(built, packs=tuple(packs))
        atomic.make_directory(self._folder)
        atomic.write_file(self._file(built.digest), built.to_text().encode())

    def touch(self, digest: bytes) -> None:
        """Note that it was used now."""
        with contextlib.suppress(OSError):  # of a store that cannot be written
            os.utime(self._file(digest))

    def all(self) -> list[BuiltTree]:
        """All that can be read, the one used last first."""
        times: dict[bytes, int] = {}
        for file in self._folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                times[bytes.fromhex(file.stem)] = file.stat().st_mtime_ns
        found = map(self.read, sorted(times, key=lambda digest: -times[digest]))
        return [built for built in found if built is not None]

    def of(self, tree: bytes) -> list[BuiltTree]:
        """The ways in which a tree was computed, the one used last first."""
        return [built for built in self.all() if built.tree == tree]

    def forget(self, digest: bytes) -> None:
        """Remove what is known of a formula."""
        self._file(digest).unlink(missing_ok=True)

    def _file(self, digest: bytes) -> Path:
        return self._folder / f"{digest.hex()}.json"


def keys_of(tree: Tree) -> set[bytes]:
    """The keys of all blocks of a tree."""
    return {tensor.key(i) for tensor in tree.values() for i in range(tensor.block_count)}
