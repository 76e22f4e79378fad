"""A model's tensors after they were shared: what torch writes to them, and whether they stay.

A tensor may stand in several places of a model, as tied embeddings do: each place counts.

Limits: a tensor that takes another's place is noticed if that is a parameter, a buffer or another
attribute of a module; not in lists and closures.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch

from pvc.errors import PvcError
from pvc.live.pytorch.placement import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class StrayedError(PvcError):
    """A model computes with another tensor than the one that was shared.

    Attributes:
        name: the tensor, or one that shared its memory.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"The model's tensor {name} is not the one that was shared: it was moved, converted "
            "or replaced; close the engine, and share the model again."
        )


class Watch:
    """Watches the tensors of a model whose weights are shared.

    Args:
        model: the model.
        named: the shared tensors, by the names that checkpoints give them.
    """

    def __init__(self, model: torch.nn.Module, named: Mapping[str, torch.Tensor]) -> None:
        self._model = model
        self._named = named
        names: dict[int, str] = {}
        for name, one in named.items():
            names.setdefault(id(one), name)
        self._counted = {
            name: one for name, one in named.items() if name == names[id(one)] and _is_counted(one)
        }
        shared = {_storage(one): name for name, one in named.items() if one.numel()}
        self._own = {
            id(one): names.get(id(one), shared[_storage(one)])
            for one in _owned(model)
            if is_plain(one) and one.numel() and _storage(one) in shared
        }
        watched = [*named.values(), *(one for one in _owned(model) if id(one) in self._own)]
        self._places = [(one, one.data_ptr(), one.shape) for one in watched]
        self._names = self._own | names
        self._uses = self._count()

    def counts(self) -> dict[str, int]:
        """How often each tensor was written in place, as far as torch counts it."""
        return {name: one._version for name, one in self._counted.items()}  # noqa: SLF001  # documented

    def written(self, names: Sequence[str]) -> None:
        """Count a write, so that a backward pass that saved old weights fails."""
        for name in names:
            if _is_counted(self._named[name]):
                torch.autograd.graph.increment_version(self._named[name])

    def check(self) -> None:
        """Make sure that the model still computes with what was shared.

        Raises:
            StrayedError: it does not.
        """
        strayed = [
            id(one)
            for one, place, shape in self._places
            if one.data_ptr() != place or one.shape != shape
        ]
        now = self._count()
        strayed += [place[-1] for place, uses in self._uses.items() if now[place] < uses]
        if strayed:
            raise StrayedError(self._names[strayed[0]])

    def _count(self) -> Counter[tuple[int, str, int]]:
        """How often each shared tensor stands in a module under a key; a module may stand twice.

        Under another key it is what the module computes its weight from, as pruning does.
        """
        return Counter(
            (id(module), key, id(one))
            for module, key, one in _uses(self._model)
            if id(one) in self._names
        )


def _is_counted(tensor: torch.Tensor) -> bool:
    """Whether torch counts writes to a tensor: not to those made for inference."""
    try:
        return tensor._version >= 0  # noqa: SLF001  # documented
    except RuntimeError:
        return False


def _owned(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    for module in model.modules():
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)


def _uses(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, torch.Tensor]]:
    """Module, key and tensor of every place: twice, if a tensor or a module stands in two."""
    for _, module in model.named_modules(remove_duplicate=False):
        for key, one in module.named_parameters(recurse=False, remove_duplicate=False):
            yield module, key, one
        for key, one in module.named_buffers(recurse=False, remove_duplicate=False):
            yield module, key, one
        for key, one in vars(module).items():
            if isinstance(one, torch.Tensor):
                yield module, key, one


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
