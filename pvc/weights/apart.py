"""Tensors of files that stand apart: a tree names them by path and name, and no engine loads them.

"2_Dense/model.safetensors/linear.weight" is such a name; see `pvc_store.layout`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc_store.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Collection


def is_apart(name: str) -> bool:
    """Whether a tensor of this name is of a file that stands apart."""
    return ".safetensors/" in name


def completed(tree: Tree, of: Tree, unloaded: Collection[str] = ()) -> Tree:
    """What an engine has, completed by tensors of another tree that it does not load.

    Args:
        tree: what it has.
        of: the other tree.
        unloaded: names of tensors that it does not load, beside those that stand apart.
    """
    left = [one for name, one in of.items() if is_apart(name) or name in unloaded]
    return Tree([*tree.values(), *left]) if left else tree
