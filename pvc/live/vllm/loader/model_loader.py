"""The loader of a worker's model, run again: which tensors it has to change, and which it can."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pvc.live.protocol.applied_tensors import unknown
from pvc.live.vllm.loader.checkpoint_tensors import CheckpointTensors
from pvc.live.vllm.loader.indirect_tensors import IndirectTensors
from pvc.live.vllm.loader.loader_groups import loaded_into, loader_groups
from pvc.live.vllm.loader.reloader import OtherBytesLoadedError, Reloader
from pvc.live.vllm.loader.unloaded_model import ReloadError, UnloadedModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import torch

    from pvc.live.vllm.loader.loader_groups import LoaderGroup
    from pvc.live.vllm.loader.module_lifecycle import ModuleLifecycle
    from pvc.weights.header import TensorPlace
    from pvc.weights.reader import CheckpointReader


class ModelLoader:
    """The loader of a model.

    Args:
        model: the model, loaded.
        places: the tensors of the checkpoint that it was loaded from, by name.
        lifecycle: what the framework does with its modules.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        places: Mapping[str, TensorPlace],
        lifecycle: ModuleLifecycle,
    ) -> None:
        self._model = model
        self._places = places
        self._lifecycle = lifecycle

    def copied(self) -> frozenset[str]:
        """The tensors with packed copies of which the model computes; asked before they move."""
        keeps_copy = self._lifecycle.keeps_copy
        if not any(map(keeps_copy, self._model.modules())):
            return frozenset()
        return loaded_into(self._model, self._unloaded.trace, keeps_copy)

    def indirect_tensors(
        self, reader: CheckpointReader, reasons: Mapping[str, str], bound: frozenset[str]
    ) -> IndirectTensors:
        """The tensors that are not direct; each group of them is loaded once to try it out.

        Args:
            reader: of the checkpoint.
            reasons: tensor that does not lie in the model as in the checkpoint -> why.
            bound: those of which something else than the model's modules has a copy.
        """
        checkpoint = CheckpointTensors(reader, self._places)
        applied = {name: checkpoint.stored(name) for name in reasons}
        unavailable = self._lifecycle.unavailable()
        if unavailable is not None:
            reasons = {name: f"{why}; {unavailable}" for name, why in reasons.items()}
            return IndirectTensors(self._places, reasons, applied, ())
        reasons, able = dict(reasons), []
        for group in self._groups(reasons):
            reloader = Reloader(self._model, group, self._lifecycle, self._unloaded)
            lost = [name for name in group.tensors if name in reasons]
            try:
                if bound & set(group.tensors):
                    raise ReloadError(group.tensors, "something computes with a copy of it")
                reloader.check(checkpoint.content)
            except ReloadError as error:
                reasons.update({name: f"{reasons[name]}; {error}".rstrip(".") for name in lost})
                if isinstance(error, OtherBytesLoadedError):
                    applied.update({name: unknown(applied[name]) for name in lost})
            else:
                able.append(reloader)
                others = (name for name in group.tensors if name not in applied)
                applied.update({name: checkpoint.stored(name) for name in others})
        return IndirectTensors(self._places, reasons, applied, tuple(able))

    @cached_property
    def _unloaded(self) -> UnloadedModel:
        return UnloadedModel.of(self._model, self._places, self._lifecycle)

    def _groups(self, names: Iterable[str]) -> tuple[LoaderGroup, ...]:
        """The groups that have any of some tensors."""
        wanted = tuple(names)
        if not wanted:
            return ()
        is_processed = self._lifecycle.is_processed
        return loader_groups(self._model, self._unloaded.trace, wanted, is_processed)
