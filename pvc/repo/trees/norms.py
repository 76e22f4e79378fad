"""How large each tensor of a tree is, kept so that it need not be read again to be known.

<store>/norms/<tree id>.json:
  squares    name -> sum of squares, as the hexadecimal text of a float64
  check      BLAKE3 of the tree id and the squares

A cache: what is missing, damaged or cannot be read is computed again, from the weights.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pvc.strict_json import MALFORMATIONS
from pvc_store import atomic
from pvc_store.ids import object_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pvc_store.tree import Tree


class Norms:
    """The sums of squares that a repository knows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "norms"

    def read(self, tree: Tree) -> Mapping[str, float]:
        """Sums of squares by name of the tensor; empty if they are not known for every tensor."""
        try:
            document = json.loads(self._file(tree).read_bytes())
            found = document["squares"]
            known = {str(name): float.fromhex(text) for name, text in found.items()}
            sound = document["check"] == _check(tree, found) and set(known) == set(tree)
        except (OSError, *MALFORMATIONS):
            return {}
        return known if sound else {}

    def write(self, tree: Tree, squares: Mapping[str, float]) -> None:
        """Keep the sums of squares of a tree's tensors."""
        atomic.make_directory(self._folder)
        texts = {name: square.hex() for name, square in squares.items()}
        document = {"squares": texts, "check": _check(tree, texts)}
        atomic.write_file(self._file(tree), json.dumps(document).encode())

    def _file(self, tree: Tree) -> Path:
        return self._folder / f"{tree.id.hex()}.json"


def _check(tree: Tree, texts: Mapping[str, str]) -> str:
    return object_id(tree.id + json.dumps(texts, sort_keys=True).encode()).hex()
