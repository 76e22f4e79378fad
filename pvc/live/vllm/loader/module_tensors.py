"""The parameters and buffers of one module, remembered while other ones take their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable


class ModuleTensors:
    """What a module consists of when this is made.

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
            name: one for _, saved in self._tables for name, one in saved.items() if one is not None
        }

    def put_back(self, names: Iterable[str] | None = None) -> None:
        """Give the module its tensors back: those of some names, or all and no others."""
        for table, saved in self._tables:
            chosen = (table.keys() | saved.keys()) if names is None else set(names) & saved.keys()
            for name in chosen:
                if name in saved:
                    table[name] = saved[name]
                else:
                    del table[name]
        if names is None:
            self._volatile.clear()
            self._volatile.update(self._names)

    def restore(self) -> None:
        """Make the module what it was."""
        vars(self._module).clear()
        vars(self._module).update(self._attributes)
        self.put_back()

    def adopt(self) -> None:
        """Give the module its tensors back, and keep its other attributes as they are now."""
        now = vars(self._module)
        for name, before in self._attributes.items():
            after = now.get(name)
            if _are_alike(before, after):
                before.copy_(after)
                now[name] = before
        self.put_back()


def form(tensor: torch.Tensor) -> tuple[object, ...]:
    """Equal for tensors between which bytes can be copied as they are."""
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device


def _are_alike(one: Any, two: Any) -> bool:
    """Whether both are tensors, and of one form."""
    tensors = isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor)
    return tensors and form(one) == form(two)
