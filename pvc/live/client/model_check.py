"""Whether a tree is of the model that an engine runs: names, kinds and shapes are compared.

Nothing is read; `pvc status` asks this of engines that it does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.weights.apart import is_apart

if TYPE_CHECKING:
    from pvc.live.protocol.manifest import LiveTensor, Manifest
    from pvc_store.tree import Tensor, Tree


class OtherModelError(PvcError):
    """A tree is not one of the model that an engine runs.

    Attributes:
        engine: its name.
        differences: the first tensors that do not fit, a phrase for each.
    """

    def __init__(self, engine: str, differences: tuple[str, ...]) -> None:
        self.engine = engine
        self.differences = differences
        super().__init__(
            f"The engine {engine} does not run the model of this tree: {'; '.join(differences)}."
        )


def check_model(manifest: Manifest, tree: Tree) -> None:
    """Make sure that a tree has the tensors of an engine; tied ones may be there once or twice.

    Tensors that stand apart (`pvc.weights.apart`) are none of an engine's, nor are those that it
    does not load.

    Raises:
        OtherModelError: it has not.
    """
    found = []
    for name in sorted(manifest.tensors.keys() | tree.keys()):
        live, tensor = manifest.tensors.get(name), tree.get(name)
        if live is None and (is_apart(name) or name in manifest.unloaded):
            continue
        if tensor is None and _is_tied_into(name, manifest, tree):
            continue
        one, two = _form(live), _form(tensor)
        if one != two:
            found.append(f"{name} is {one} in the engine and {two} in the tree")
    for group in manifest.ties:
        named = [tree[name] for name in group if name in tree]
        if len({tensor.keys for tensor in named}) > 1:
            found.append(
                f"{named[0].name} and {named[1].name} are one in the engine, not in the tree"
            )
    if found:
        raise OtherModelError(manifest.name, tuple(found[:3]))


def _is_tied_into(name: str, manifest: Manifest, tree: Tree) -> bool:
    return any(name in group and any(one in tree for one in group) for group in manifest.ties)


def _form(found: LiveTensor | Tensor | None) -> str:
    return "absent" if found is None else f"{found.kind.name} {list(found.shape)}"
