"""Records of the trees that formulas were computed to, found by the formula's digest.

Where a tree's blocks are stored, its record is a cache.  Where they went to a directory only, the
record says how to compute them again.  The time of modification of its file is that of its last
use.  Format page: docs/format/built.md.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.repo.build.overflow import Overflow
from pvc.repo.personality.formula import ARITHMETIC, ROUNDING, Formula
from pvc.repo.personality.formula_file import formula_json, read_formula
from pvc.repo.trees.checked_file import CheckedFiles, with_check, without_check
from pvc_store.ids import parse_id

if TYPE_CHECKING:
    from pathlib import Path

    from pvc_store.tree import Tree

FORMAT = "pvc built tree 1"


@dataclass(frozen=True, slots=True)
class BuiltTree:
    """The record of a computed tree.

    Attributes:
        formula: how it is computed.
        tree: what it was computed to.
        packs: those written for it; other trees may need blocks of them by now.
        overflows: what overflowed.
        rounding: version of the rounding; another one may give other bits.
    """

    formula: Formula
    tree: bytes
    packs: tuple[bytes, ...]
    overflows: tuple[Overflow, ...] = ()
    rounding: int = ROUNDING

    @property
    def is_current(self) -> bool:
        """Whether computing it again gives the same."""
        return self.rounding == ROUNDING

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
            "rounding": self.rounding,
        }
        if self.overflows:
            document["overflows"] = [
                [one.name, one.kind, one.count, one.largest.hex(), one.limit.hex()]
                for one in self.overflows
            ]
        return json.dumps(with_check(document)) + "\n"

    @classmethod
    def parse(cls, text: str | bytes) -> BuiltTree:
        """Read the JSON.

        Raises:
            ValueError, ...: it is damaged, or of another format or arithmetic; any of
                `MALFORMATIONS`.
        """
        document = without_check(json.loads(text))
        if (document["format"], document["arithmetic"]) != (FORMAT, ARITHMETIC):
            raise ValueError("it is of another format or arithmetic")
        packs = tuple(map(parse_id, document["packs"]))
        overflows = tuple(
            Overflow(name, kind, int(count), float.fromhex(largest), float.fromhex(limit))
            for name, kind, count, largest, limit in document.get("overflows", ())
        )
        formula, tree = read_formula(document["formula"]), parse_id(document["tree"])
        return cls(formula, tree, packs, overflows, int(document.get("rounding", 1)))


class BuiltTrees:
    """The records of computed trees, by the digest of the formula.

    Args:
        folder: the store's.
    """

    def __init__(self, folder: Path) -> None:
        self._files = CheckedFiles(folder / "built", _dump, _load)

    def read(self, digest: bytes) -> BuiltTree | None:
        """The record of a formula, or None."""
        return self._files.read(digest)

    def write(self, built: BuiltTree) -> None:
        """Record what a formula was computed to; packs that were recorded for it stay so."""
        before = self.read(built.digest)
        packs = dict.fromkeys((*(before.packs if before else ()), *built.packs))
        self._files.write(built.digest, replace(built, packs=tuple(packs)))

    def touch(self, digest: bytes) -> None:
        """Note that it was used now."""
        with contextlib.suppress(OSError):  # of a store that cannot be written
            os.utime(self._files.path(digest))

    def all(self) -> list[BuiltTree]:
        """All that can be read, the one used last first."""
        times: dict[bytes, int] = {}
        for file in self._files.folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                times[bytes.fromhex(file.stem)] = file.stat().st_mtime_ns
        found = map(self.read, sorted(times, key=lambda digest: -times[digest]))
        return [built for built in found if built is not None]

    def of(self, tree: bytes) -> list[BuiltTree]:
        """The ways in which a tree was computed, the one used last first."""
        return [built for built in self.all() if built.tree == tree]

    def forget(self, digest: bytes) -> None:
        """Drop the record of a formula."""
        self._files.path(digest).unlink(missing_ok=True)


def _dump(_: bytes, built: BuiltTree) -> str:
    return built.to_text()


def _load(digest: bytes, data: bytes) -> BuiltTree:
    built = BuiltTree.parse(data)
    if built.digest != digest:
        raise ValueError("it is of another formula than its name says")
    return built


def keys_of(tree: Tree) -> set[bytes]:
    """The keys of all blocks of a tree."""
    return {tensor.key(i) for tensor in tree.values() for i in range(tensor.block_count)}
