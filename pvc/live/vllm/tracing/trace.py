"""Where the tensors of a checkpoint lie in a loaded model, found out by its own loader.

The loader is run once more with tensors that have no data, and watched: see `recorder`.  Fused and
stacked parameters, shards of any kind, transposed and padded ones need no tables, and the model is
not written to.

    found = trace(model, checkpoint.tensors)
    found.regions["model.layers.0.self_attn.k_proj.weight"]

What a loader does to a tensor after it was written, as packing, does not show here; whether the
bytes are the checkpoint's must be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch

from pvc.live.pytorch.placement import DTYPE_OF, all_tensors
from pvc.live.vllm.tracing.model_tensors import ModelTensors, named
from pvc.live.vllm.tracing.overlap import overlapping
from pvc.live.vllm.tracing.recorder import META, Recorder, span, storage_key
from pvc.wording import agreeing, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pvc.live.protocol.region import Region
    from pvc_store.kinds import Kind

FAILURES_LIMIT = 200
"""How often the loader may fail while the tensors are searched for with which it does."""


STASHED = "the loader may keep it elsewhere than in a parameter"


class TensorDescription(Protocol):
    """What must be known of a tensor of a checkpoint."""

    @property
    def kind(self) -> Kind:
        """Numeric kind."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        ...


@dataclass(frozen=True)
class Trace:
    """Where the tensors of a checkpoint lie in a model.

    Attributes:
        storages: those that hold any of them; `Region.storage` is an index of it.
        regions: tensor -> where its bytes are copied to; not necessarily all of them.
        parameters: parameter or buffer -> the tensors that are loaded into it, in whatever way.
        opaque: tensor -> why it is not, or not only, copied as it is.
        overlapping: tensors that are loaded into bytes into which others are loaded, too.
        errors: tensor -> what the loader says, which cannot load it.
        unmapped: tensors that the loader does nothing with: other ranks have them, or none.
        moved: parameters that the loader put something else in the place of.
    """

    storages: tuple[torch.UntypedStorage, ...]
    regions: Mapping[str, tuple[Region, ...]]
    parameters: Mapping[str, frozenset[str]]
    opaque: Mapping[str, str]
    overlapping: frozenset[str]
    errors: Mapping[str, str]
    unmapped: frozenset[str]
    moved: frozenset[str]

    @cached_property
    def problems(self) -> Mapping[str, str]:
        """Tensor -> why its regions, if it has any, must not be relied on."""
        replaced = {
            tensor: f"the loader replaces the parameter {name}"
            for name in sorted(self.moved)
            for tensor in self.parameters.get(name, ())
        }
        shared = dict.fromkeys(self.overlapping, "another tensor is loaded over it, or it over one")
        return {**shared, **replaced, **self.opaque, **self.errors}


def trace(
    model: torch.nn.Module,
    tensors: Mapping[str, TensorDescription],
    *,
    load: Callable[[Iterable[tuple[str, torch.Tensor]]], object] | None = None,
) -> Trace:
    """Find out where the tensors of a checkpoint lie in a model that was loaded from it.

    Args:
        model: the model; it is not written to.
        tensors: the checkpoint's, as its headers describe them.
        load: what loads tensors into it; None is its `load_weights`.
    """
    load = load or model.load_weights  # type: ignore[assignment]  # modules have any attribute
    with torch.inference_mode(mode=False):  # in which whole operations come, not their parts
        return _Tracer(model, tensors, load).trace()


class _Tracer:
    """One run of `trace`."""

    def __init__(
        self, model: torch.nn.Module, tensors: Mapping[str, TensorDescription], load: Any
    ) -> None:
        self._model = model
        self._load = load
        self._names = tuple(tensors)
        self._storages, self._live = live_storages(model)
        self._hollow = [name for name, one in model.named_parameters() if not one.numel()]
        self._records: list[Recorder] = []
        self._errors: dict[str, str] = {}
        self._failures = 0
        self._moved: frozenset[str] = frozenset()
        self._is_stashed = False
        self._sources: dict[str, torch.Tensor] = {}
        for name, tensor in tensors.items():
            if tensor.kind.name in DTYPE_OF:
                dtype = DTYPE_OF[tensor.kind.name]
                self._sources[name] = torch.empty(tensor.shape, dtype=dtype, device=META)
            else:
                self._errors[name] = f"PyTorch has no numbers of the kind {tensor.kind.name}"

    def trace(self) -> Trace:
        self._run(tuple(self._sources))
        used, regions = self._regions()
        opaque = {name: why for record in self._records for name, why in record.opaque.items()}
        seen = regions.keys() | opaque.keys() | self._errors.keys()
        unmapped = frozenset(name for name in self._names if name not in seen)
        if self._is_stashed:
            opaque.update(dict.fromkeys(unmapped, STASHED))
            unmapped = frozenset()
        return Trace(
            storages=tuple(self._storages[index] for index in used),
            regions=regions,
            parameters=self._parameters(),
            opaque=opaque,
            overlapping=overlapping(regions, {name: self._item(name) for name in regions}),
            errors=self._errors,
            unmapped=unmapped,
            moved=self._moved,
        )

    def _item(self, name: str) -> int:
        return self._sources[name].element_size()

    def _regions(self) -> tuple[list[int], dict[str, tuple[Region, ...]]]:
        """The storages that hold anything, and tensor -> regions, in the checkpoint's order."""
        found: dict[str, list[Region]] = {}
        for record in self._records:
            for name, regions in record.regions.items():
                found.setdefault(name, []).extend(regions)
        used = sorted({region.storage for regions in found.values() for region in regions})
        number = {storage: index for index, storage in enumerate(used)}
        return used, {
            name: tuple(
                replace(one, storage=number[one.storage]) for one in dict.fromkeys(found[name])
            )
            for name in self._names
            if name in found
        }

    def _run(self, names: tuple[str, ...]) -> None:
        """Watch the loader load some tensors; if it fails, find those with which it does."""
        if self._failures == FAILURES_LIMIT:
            reason = "the loader fails with many tensors, and was not tried with this one"
            self._errors.update(dict.fromkeys(names, reason))
            return
        error = self._watch(names, through_copies=True)
        if error is None:
            return
        self._failures += 1
        if len(names) > 1:
            middle = len(names) // 2
            self._run(names[:middle])
            self._run(names[middle:])
        elif self._watch(names, through_copies=False) is not None:
            self._errors.update(dict.fromkeys(names, self._reason(error)))

    def _watch(self, names: Sequence[str], *, through_copies: bool) -> Exception | None:
        sources = {name: self._sources[name] for name in names}
        record = Recorder(self._live, sources, through_copies=through_copies)
        snapshot = ModelTensors(self._model)
        try:
            with torch.no_grad(), record:
                self._load(iter(sources.items()))
        except Exception as error:  # noqa: BLE001  # loaders of many models fail in many ways
            return error
        finally:
            moved = snapshot.restore()
            self._is_stashed |= snapshot.is_stashed
        self._records.append(record)
        self._moved |= moved
        return None

    def _reason(self, error: Exception) -> str:
        reason = f"the loader fails with {type(error).__name__}: {str(error).strip()[:200]}"
        if self._hollow:
            reason += (
                f" ({counted(len(self._hollow), 'parameter')} of the model "
                f"{agreeing(len(self._hollow), 'is', 'are')} empty, such as {self._hollow[0]}: the "
                "engine keeps their weights in a form of its own)"
            )
        return reason

    def _parameters(self) -> dict[str, frozenset[str]]:
        """Parameter -> tensors that are written into it."""
        written: dict[int, list[tuple[int, int, str]]] = {}
        for record in self._records:
            for storage, start, end, name in record.touched:
                written.setdefault(storage, []).append((start, end, name))
        found: dict[str, frozenset[str]] = {}
        for parameter, tensor in named(self._model):
            first, last = span(tensor)
            spans = written.get(self._live[storage_key(tensor)], ())
            names = frozenset(one for start, end, one in spans if start < last and first < end)
            if names:
                found[parameter] = names
        return found


def live_storages(
    model: torch.nn.Module,
) -> tuple[tuple[torch.UntypedStorage, ...], dict[int, int]]:
    """The storages of a model, each once and in an order of its own, and `storage_key` -> index."""
    unique: dict[int, torch.UntypedStorage] = {}
    for tensor in all_tensors(model):
        unique.setdefault(storage_key(tensor), tensor.untyped_storage())
    return tuple(unique.values()), {key: index for index, key in enumerate(unique)}
