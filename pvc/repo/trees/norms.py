"""Norms of the tensors of a tree, kept so that it need not be read again to find them.

<store>/norms/<tree id>.json:
  squares    name -> sum of squares, as the hexadecimal text of a float64
  check      BLAKE3 of the tree id and the squares

A cache: what is missing or damaged is computed again, from the weights.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pvc.repo.trees.checked_file import CheckedFiles, with_check, without_check

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pvc_store.tree import Tree

FIELD = "squares"


class Norms:
    """The sums of squares that a repository has recorded.

    Args:
        folder: the store's.
    """

    def __init__(self, folder: Path) -> None:
        self._files = CheckedFiles(folder / "norms", _dump, _load)

    def read(self, tree: Tree) -> Mapping[str, float]:
        """Sums of squares by name of the tensor; empty unless every tensor has one."""
        found = self._files.read(tree.id)
        return found if found is not None and set(found) == set(tree) else {}

    def write(self, tree: Tree, squares: Mapping[str, float]) -> None:
        """Keep the sums of squares of a tree's tensors."""
        self._files.write(tree.id, squares)


def _dump(tree: bytes, squares: Mapping[str, float]) -> str:
    texts = {name: square.hex() for name, square in squares.items()}
    return json.dumps(with_check({FIELD: texts}, tree, FIELD))


def _load(tree: bytes, data: bytes) -> Mapping[str, float]:
    texts = without_check(json.loads(data), tree, FIELD)[FIELD]
    return {str(name): float.fromhex(text) for name, text in texts.items()}
