"""The tensors that a model consists of, remembered and put back.

A loader may give a parameter other data, or put another parameter in its place, instead of writing
to it.  After a loader was traced, that has to be undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pvc.live.pytorch.placement import all_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator


class ModelTensors:
    """The tensors of a model when this is made.

    Args:
        model: the model.

    Attributes:
        is_stashed: whether a module has got a tensor that is neither parameter nor buffer; known
            once they are put back.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self.is_stashed = False
        self._tables = [(table, dict(table)) for table in _tables(model)]
        self._data = [(tensor, tensor.data) for tensor in all_tensors(model)]

    def restore(self) -> frozenset[str]:
        """Put them back; the names of parameters and buffers that something else had replaced."""
        after = {name: _place(tensor) for name, tensor in named(self._model)}
        own = {id(module.__dict__) for module in self._model.modules()}
        for table, saved in self._tables:
            changed = [key for key in table.keys() | saved.keys() if _differ(key, table, saved)]
            self.is_stashed |= bool(changed) and id(table) in own
            for key in changed:
                if key in saved:
                    table[key] = saved[key]
                else:
                    del table[key]
        for tensor, data in self._data:
            if _place(tensor) != _place(data):
                tensor.data = data
        before = {name: _place(tensor) for name, tensor in named(self._model)}
        return frozenset(name for name in before if before[name] != after.get(name))


def named(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers, under all their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _tables(model: torch.nn.Module) -> Iterator[dict[str, Any]]:
    """Where modules keep their tensors."""
    for module in model.modules():
        yield module.__dict__
        yield module._parameters  # noqa: SLF001  # their public views are copies
        yield module._buffers  # noqa: SLF001


def _differ(key: str, table: dict[str, Any], saved: dict[str, Any]) -> bool:
    """Whether a tensor was put in, taken out or replaced."""
    one, two = table.get(key), saved.get(key)
    return one is not two and (isinstance(one, torch.Tensor) or isinstance(two, torch.Tensor))


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    storage = tensor.untyped_storage()
    form = tuple(tensor.shape), tensor.stride(), tensor.dtype
    return (storage._cdata, int(tensor.storage_offset()), *form)  # noqa: SLF001
