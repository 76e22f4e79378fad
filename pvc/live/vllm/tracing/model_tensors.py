"""Which tensors a model consists of, remembered and brought back.

A loader may give a parameter other data, or put another parameter in its place, instead of writing
to it.  After a loader was only watched, that has to be undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pvc.live.pytorch.placing import all_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class ModelTensors:
    """What a model consists of at one moment.

    Args:
        model: the model.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._held = [(table, dict(table)) for table in _tables(model)]
        self._data = [(tensor, tensor.data) for tensor in all_tensors(model)]

    def restore(self) -> frozenset[str]:
        """Bring it back; the names of parameters and buffers that had become something else."""
        after = {name: _place(tensor) for name, tensor in named(self._model)}
        for table, held in self._held:
            changed = [key for key in table.keys() | held.keys() if _differ(key, table, held)]
            for key in changed:
                if key in held:
                    table[key] = held[key]
                else:
                    del table[key]
        for tensor, data in self._data:
            if _place(tensor) != _place(data):
                tensor.data = data
        before = {name: _place(tensor) for name, tensor in named(self._model)}
        return frozenset(name for name in before if before[name] != after.get(name))


class ModuleTensors:
    """What a module consists of at one moment.

    Args:
        module: the module.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._attributes = dict(vars(module))
        self._tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (table, dict(table))
            for table in (module._parameters, module._buffers)  # noqa: SLF001  # views are copies
        ]
        self._volatile = module._non_persistent_buffers_set  # noqa: SLF001
        self._names = set(self._volatile)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Its parameters and buffers."""
        return {
            name: one for _, held in self._tables for name, one in held.items() if one is not None
        }

    def put_back(self, names: Iterable[str] | None = None) -> None:
        """Let it have the tensors that it had; None stands for all."""
        for table, held in self._tables:
            chosen = (table.keys() | held.keys()) if names is None else set(names) & held.keys()
            for name in chosen:
                if name in held:
                    table[name] = held[name]
                else:
                    del table[name]
        if names is None:
            self._volatile.clear()
            self._volatile.update(self._names)

    def restore(self) -> None:
        """Let it be what it was."""
        vars(self._module).clear()
        vars(self._module).update(self._attributes)
        self.put_back()

    def adopt(self) -> None:
        """Let it have its tensors, with what it has become besides."""
        now = vars(self._module)
        for name, before in self._attributes.items():
            after = now.get(name)
            if _are_alike(before, after):
                before.copy_(after)
                now[name] = before
        self.put_back()


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


def _differ(key: str, table: dict[str, Any], held: dict[str, Any]) -> bool:
    """Whether a tensor was put in, taken out or replaced."""
    one, two = table.get(key), held.get(key)
    return one is not two and (isinstance(one, torch.Tensor) or isinstance(two, torch.Tensor))


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    storage = tensor.untyped_storage()
    form = tuple(tensor.shape), tensor.stride(), tensor.dtype
    return (storage._cdata, int(tensor.storage_offset()), *form)  # noqa: SLF001


def form(tensor: torch.Tensor) -> tuple[object, ...]:
    """Equal for tensors between which bytes can be copied as they are."""
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device


def _are_alike(one: Any, two: Any) -> bool:
    """Whether both are tensors, and of one form."""
    tensors = isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor)
    return tensors and form(one) == form(two)
