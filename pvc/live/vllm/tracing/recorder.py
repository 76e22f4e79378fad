"""Watching a loader: which bytes of which tensors it would write to which bytes of a model.

The tensors that the loader is given have a shape and a dtype, and no data.  Whatever it does with
them passes here, operation by operation: views of them share their storage, so that a copy into the
model tells where its bytes come from; other results are known to be made of them, not how.  Nothing
that would write is carried out.

Limits: operations of other threads, and writes that do not pass through PyTorch, are not seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pvc.live.protocol.region import Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_COPY = torch.ops.aten.copy_.default
_CLONE = torch.ops.aten.clone.default
_CONVERT = torch.ops.aten._to_copy.default  # noqa: SLF001  # it is called so
_COPY_EACH = torch.ops.aten._foreach_copy_.default

META = torch.device("meta")


def storage_key(tensor: torch.Tensor) -> int:
    """Equal for tensors that are views of one storage, while that exists."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001  # meta tensors have no address


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records writes, and does not let them happen.

    Args:
        live: `storage_key` -> index, of the model's storages.
        sources: name -> tensor without data, of a checkpoint.
        through_copies: whether a copy of such a tensor is taken for a view of it.  Then more can be
            explained; a loader that cuts a copy up in ways that views do not allow will fail.

    Attributes:
        regions: name -> where its bytes go, in the order of writing.
        opaque: name -> why some of its bytes cannot be followed.
        touched: (storage, first byte, first byte behind, name of a tensor that is written there).
    """

    def __init__(
        self,
        live: Mapping[int, int],
        sources: Mapping[str, torch.Tensor],
        *,
        through_copies: bool,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.regions: dict[str, list[Region]] = {}
        self.opaque: dict[str, str] = {}
        self.touched: list[tuple[int, int, int, str]] = []
        self._live = live
        self._names = {storage_key(tensor): name for name, tensor in sources.items()}
        self._made_of = {key: frozenset({name}) for key, name in self._names.items()}
        self._through_copies = through_copies
        self._kept: list[torch.Tensor] = []  # a key is another storage's once its own is gone

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """See `TorchDispatchMode`."""
        kwargs = kwargs or {}
        names = self._names_in((args, kwargs))
        written = list(_written(func, args, kwargs))
        if written and (names or any(storage_key(tensor) in self._live for tensor in written)):
            for target, source in zip(written, _copied(func, args, written), strict=True):
                self._record(func, target, source, names)
            return _answer(func, written)
        if not names:
            return func(*args, **kwargs)
        if func in {_CLONE, _CONVERT}:
            return self._copy(func, args, kwargs, names)
        return self._made(func(*args, **kwargs), names)

    def _names_in(self, values: Any) -> frozenset[str]:
        """The tensors that values are views of, or made of."""
        tensors = (leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))
        found = (self._made_of.get(storage_key(tensor), frozenset()) for tensor in tensors)
        return frozenset().union(*found)

    def _copy(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: frozenset[str]
    ) -> torch.Tensor:
        original: torch.Tensor = args[0]
        if self._through_copies and kwargs.get("dtype") in {None, original.dtype}:
            return original.detach()
        if "device" in kwargs:
            kwargs = {**kwargs, "device": META}
        made: torch.Tensor = self._made(func(*args, **kwargs), names)
        return made

    def _made(self, result: Any, names: frozenset[str]) -> Any:
        """Remember what a result is made of, unless it is a view of something known."""
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and storage_key(tensor) not in self._live:
                self._kept.append(tensor)
                self._made_of.setdefault(storage_key(tensor), names)
        return result

    def _record(self, func: Any, target: torch.Tensor, source: Any, names: frozenset[str]) -> None:
        storage = self._live.get(storage_key(target))
        if storage is None:
            self._kept.append(target)
            self._made_of[storage_key(target)] = names
            self._give_up(
                names, f"it is changed or joined with others by {func} before it is loaded"
            )
            return
        name = self._names.get(storage_key(source)) if isinstance(source, torch.Tensor) else None
        if name is None:
            self._give_up(names, f"it is not copied as it is, but goes through {func}")
        else:
            names = frozenset({name})
            self._follow(name, storage, target, source)
        start, end = span(target)
        self.touched.extend((storage, start, end, one) for one in names)

    def _follow(self, name: str, storage: int, target: torch.Tensor, source: torch.Tensor) -> None:
        """Record that a view of a tensor is copied to a view of a storage."""
        if source.dtype != target.dtype:
            self._give_up({name}, f"it is converted from {_short(source)} to {_short(target)}")
            return
        source = source.expand(target.shape)
        dims = zip(target.shape, target.stride(), source.stride(), strict=True)
        if any(count > 1 and 0 in steps for count, *steps in dims):
            self._give_up({name}, "elements of it are repeated")
            return
        item = target.element_size()
        region = Region(
            storage,
            int(target.storage_offset()) * item,
            tuple(target.shape),
            tuple(step * item for step in target.stride()),
            int(source.storage_offset()) * item,
            tuple(step * item for step in source.stride()),
        )
        self.regions.setdefault(name, []).append(region)

    def _give_up(self, names: frozenset[str] | set[str], reason: str) -> None:
        for name in names:
            self.opaque.setdefault(name, reason)


def _written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """The arguments that an operation writes to, in their order."""
    for index, argument in enumerate(func._schema.arguments):  # noqa: SLF001  # has no other name
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[index] if index < len(args) else kwargs.get(argument.name)
            for one in tree_leaves(given):
                if isinstance(one, torch.Tensor):
                    yield one


def _copied(
    func: Any, args: tuple[Any, ...], written: Sequence[torch.Tensor]
) -> Sequence[torch.Tensor | None]:
    """For each tensor that is written, the one that is copied to it as it is."""
    if func is _COPY:
        return [args[1]]
    if func is _COPY_EACH:
        return list(args[1])
    return [None] * len(written)


def _answer(func: Any, written: list[torch.Tensor]) -> Any:
    """What an operation would have returned."""
    count = len(func._schema.returns)  # noqa: SLF001
    if count == 0:
        return None
    return written[0] if count == 1 else tuple(written)


def span(tensor: torch.Tensor) -> tuple[int, int]:
    """First byte of a tensor in its storage, and first behind it."""
    item = tensor.element_size()
    start = int(tensor.storage_offset()) * item
    if not tensor.numel():
        return start, start
    dims = zip(tensor.shape, tensor.stride(), strict=True)
    return start, start + item + item * sum((count - 1) * step for count, step in dims)


def _short(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
