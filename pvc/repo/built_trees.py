"""The trees that formulas were computed to: a cache, found again by the formula's digest.

<store>/built/<digest of the formula>.json:
  formula  how it is computed, see `pvc.repo.formula_text`
  tree     tree id that it was computed to
  packs    ids of the packs that were written for it; none if its blocks went to a directory only
  check    BLAKE3 of digest, tree id and packs

What is missing or damaged is computed again, to the same tree.  When a file was last used is its
time of modification.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.repo.formula_text import formula_json, read_formula
from pvc.repo.target import MALFORMATIONS
from pvc_store import atomic
from pvc_store.ids import object_id, parse_id

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.formula import Formula
    from pvc_store.tree import Tree


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

    def check(self) -> str:
        """Tells a damaged file."""
        return object_id(b"".join((self.digest, self.tree, *self.packs))).hex()


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
            document = json.loads(self._file(digest).read_bytes())
            packs = tuple(map(parse_id, document["packs"]))
            formula = read_formula(document["formula"])
            found = BuiltTree(formula, parse_id(document["tree"]), packs)
            whole = found.digest == digest and found.check() == document["check"]
            return found if whole else None
        except (OSError, *MALFORMATIONS):
            return None

    def write(self, built: BuiltTree) -> None:
        """Keep what a formula was computed to; packs that were known for it stay known."""
        known = self.read(built.digest)
        packs = dict.fromkeys((*(known.packs if known else ()), *built.packs))
        built = replace(built, packs=tuple(packs))
        atomic.make_directory(self._folder)
        document = {
            "formula": formula_json(built.formula),
            "tree": built.tree.hex(),
            "packs": [pack.hex() for pack in built.packs],
            "check": built.check(),
        }
        atomic.write_file(self._file(built.digest), json.dumps(document).encode())

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

    def of(self, tree: bytes) -> BuiltTree | None:
        """How a tree was computed, or None if that is not known."""
        return next((built for built in self.all() if built.tree == tree), None)

    def forget(self, digest: bytes) -> None:
        """Remove what is known of a formula."""
        self._file(digest).unlink(missing_ok=True)

    def _file(self, digest: bytes) -> Path:
        return self._folder / f"{digest.hex()}.json"


def keys_of(tree: Tree) -> set[bytes]:
    """The keys of all blocks of a tree."""
    return {tensor.key(i) for tensor in tree.values() for i in range(tensor.block_count)}
