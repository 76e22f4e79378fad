"""A model as it was before anything was loaded into it: where its loader puts which tensors.

Frameworks process what was loaded, and throw it away: linear weights that are packed leave empty
parameters behind, into which nothing can be loaded.  So the loader is traced while all modules have
the parameters that they had at first, without data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pvc.errors import PvcError
from pvc.live.memory.host import HostMemory, pieces_of, strided
from pvc.live.protocol.manifest import LiveTensor
from pvc.live.vllm.loader.loader_groups import places
from pvc.live.vllm.loader.module_tensors import ModuleTensors
from pvc.live.vllm.tracing.recorder import storage_key
from pvc.wording import shown
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc.live.vllm.loader.checkpoint_tensors import Content
    from pvc.live.vllm.loader.loader_groups import LoaderGroup
    from pvc.live.vllm.loader.module_lifecycle import ModuleLifecycle
    from pvc.live.vllm.tracing.trace import TensorDescription, Trace


MAX_REASON = 300


class ReloadError(PvcError):
    """Tensors cannot be changed by the loader of their model.

    Attributes:
        names: the tensors.
        reason: why not.
    """

    def __init__(self, names: tuple[str, ...], reason: str) -> None:
        self.names = names
        self.reason = reason[:MAX_REASON]
        super().__init__(f"The loader cannot change {shown(names, 1)}: {self.reason}.")


@dataclass(frozen=True)
class UnloadedModel:
    """A model before it was loaded.

    Attributes:
        trace: where the loader puts tensors; its storages have no data.
        places: names of all parameters and buffers; see `loader_groups.places`.
        owners: for each of the trace's storages, the one that lies there.
        tensors: those of the checkpoint.
    """

    trace: Trace
    places: frozenset[str]
    owners: tuple[str, ...]
    tensors: Mapping[str, TensorDescription]

    @classmethod
    def of(
        cls,
        model: torch.nn.Module,
        tensors: Mapping[str, TensorDescription],
        lifecycle: ModuleLifecycle,
    ) -> UnloadedModel:
        """Trace the loader of a model, which stays as it is.

        Args:
            model: the model.
            tensors: those of its checkpoint.
            lifecycle: what the framework does with its modules.
        """
        modules = list(model.modules())
        before = [ModuleTensors(module) for module in modules]
        try:
            with lifecycle.context():
                for module in modules:
                    lifecycle.empty(module, real=False)
                found = lifecycle.trace(model, tensors)
                names = {storage_key(one): name for name, one in places(model)}
                owners = tuple(names[storage._cdata] for storage in found.storages)  # noqa: SLF001
        finally:
            for one in before:
                one.restore()
        return cls(found, frozenset(names.values()), owners, tensors)

    def check_covered(self, group: LoaderGroup) -> None:
        """Make sure that a group's tensors are loaded into its own parameters and no others.

        Raises:
            ReloadError: they are not, or it is unknown where they are loaded.
        """
        errors = [self.trace.errors[name] for name in group.tensors if name in self.trace.errors]
        if errors:
            raise ReloadError(group.tensors, errors[0])
        tensors = set(group.tensors)
        used = {name for name in self.places if self.trace.parameters.get(name, set()) & tensors}
        if not used <= set(group.parameters):
            other = min(used - set(group.parameters))
            raise ReloadError(group.tensors, f"the engine has no parameter {other} any more")
        for place in group.places:
            if len(used & set(place)) > 1:
                reason = f"{place[0]} and {place[1]} are one in memory, and are loaded apart"
                raise ReloadError(group.tensors, reason)

    def check_filled(
        self, group: LoaderGroup, fresh: Mapping[str, torch.Tensor], content: Content
    ) -> None:
        """Make sure that a loader has put a group's tensors where it should.

        Those that it converts or joins cannot be compared.

        Args:
            group: the group.
            fresh: parameter -> what was filled.
            content: the tensors.

        Raises:
            ReloadError: it has not.
        """
        memories = [_memory(fresh.get(owner)) for owner in self.owners]
        for name in group.tensors:
            if name in self.trace.problems:
                continue
            tensor = self.tensors[name]
            regions = self.trace.regions.get(name, ())
            live = LiveTensor(name, tensor.kind, tensor.shape, direct=True, regions=regions)
            if not _holds(live, memories, content(name)):
                raise ReloadError((name,), "it was not put where it belongs")


def _memory(tensor: torch.Tensor | None) -> HostMemory:
    """All of the storage that a tensor lies in."""
    if tensor is None:
        return HostMemory(np.empty(0, np.uint8))
    storage = tensor.data.untyped_storage()
    return HostMemory(torch.empty(0, dtype=torch.uint8).set_(storage).numpy())


def _holds(live: LiveTensor, memories: list[HostMemory], content: torch.Tensor) -> bool:
    data = content.view(-1).view(torch.uint8).numpy()
    for index in range(live.block_count):
        block = data[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
        for piece in pieces_of(live, index):
            rows = memories[piece.storage].rows(piece)
            staged = strided(block, piece.source, piece, piece.source_step)
            if not np.array_equal(rows, staged):
                return False
    return True
