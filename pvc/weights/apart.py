"""Tensors of files that stand apart: a tree names them by path and name, and no engine loads them.

"2_Dense/model.safetensors/linear.weight" is such a name; see `pvc_store.layout`.
"""

from __future__ import annotations

from pvc_store.tree import Tree


def is_apart(name: str) -> bool:
    """Whether a tensor of this name is of a file that stands apart."""
    return ".safetensors/" in name


def with_apart(tree: Tree, of: Tree) -> Tree:
    """What an engine has, completed by the tensors of another tree that stand apart."""
    apart = [tensor for name, tensor in of.items() if is_apart(name)]
    return Tree([*tree.values(), *apart]) if apart else tree
