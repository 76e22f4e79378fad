"""The tensors of a worker that are not direct: prepared, committed and remembered in whole groups.

What was loaded last is remembered, since it cannot be read back; and a hash of what the loader made
of it, so that a change by somebody else is seen.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.live.engine.update_checks import MovedOnError, RejectedTensorError, check_staged
from pvc.live.memory import sealed
from pvc.live.protocol.applied_tensors import unknown
from pvc.live.protocol.update import lengths, offsets, stage_bytes
from pvc.live.vllm.loader.checkpoint_tensors import as_stored, as_tensor
from pvc.wording import agreeing, counted
from pvc_store.tree import block_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from pvc.live.protocol.update import TensorUpdate, WeightUpdate
    from pvc.live.vllm.loader.reloader import Reloader
    from pvc.weights.header import TensorPlace
    from pvc_store.tree import Tensor

    Bytes = NDArray[np.uint8]

log = logging.getLogger("vllm.pvc")


@dataclass(frozen=True, slots=True)
class _PreparedGroups:
    """Groups that are to be loaded.

    Attributes:
        reloaders: these load them.
        tensors: name -> the new tensor, as a tree names it.
        staged: name -> its bytes in the stage.
    """

    reloaders: tuple[Reloader, ...]
    tensors: dict[str, Tensor]
    staged: dict[str, Bytes]


class IndirectTensors:
    """The tensors that a worker does not share in place, and how they are changed.

    Args:
        places: all tensors of the checkpoint, by name.
        reasons: tensor that does not lie in the worker as in the checkpoint -> why.
        applied: tensor -> what was loaded into it, as a tree names it, or `unknown`.
        reloaders: one for each group that the loader can change; a group may have tensors that are
            not in `reasons`.

    Attributes:
        names: all of these tensors.
        groups: those that can be changed: names of tensors that are loaded together.
        refused: tensor that cannot be changed -> why.
    """

    def __init__(
        self,
        places: Mapping[str, TensorPlace],
        reasons: Mapping[str, str],
        applied: Mapping[str, Tensor],
        reloaders: tuple[Reloader, ...],
    ) -> None:
        self.groups = tuple(one.group.tensors for one in reloaders)
        changeable = set(itertools.chain(*self.groups))
        self.names = frozenset(changeable | reasons.keys())
        self.refused = {name: why for name, why in reasons.items() if name not in changeable}
        self._reasons = reasons
        self._places = places
        self._nbytes = {name: place.nbytes for name, place in places.items()}
        self._applied = dict(applied)
        self._reloaders = reloaders
        self._digests = {one: one.digest() for one in reloaders}
        self._prepared: _PreparedGroups | None = None

    def report(self) -> None:
        """Write to the log which tensors these are, and why."""
        loaded = [name for name in self._reasons if name not in self.refused]
        if loaded:
            count = sum(map(len, self.groups))
            log.info(
                "pvc: %s %s changed by the model's loader, in %s, and cannot be read; for example "
                "%s: %s.", counted(count, "more tensor"), agreeing(count, "is", "are"),
                counted(len(self.groups), "group"), loaded[0], self._reasons[loaded[0]],
            )  # fmt: skip
        for name, why in self.refused.items():
            log.info("pvc: The tensor %s cannot be changed: %s.", name, why)

    def applied(self) -> list[Tensor]:
        """What was last loaded into each of these tensors; see `applied_tensors`."""
        for reloader, digest in self._digests.items():
            if reloader.digest() != digest:
                self._forget(reloader)
        return list(self._applied.values())

    def prepare(self, change: WeightUpdate, stage_fd: int) -> None:
        """Check the groups of a change, and keep them ready; nothing is changed.

        Raises:
            RejectedTensorError: it is not of whole groups, or a tensor is staged wrongly.
            SealError: the stage is not what it should be.
            MovedOnError: something else was loaded last than the client expects.
        """
        self.drop()
        changes = {tensor.name: tensor for tensor in change.tensors}
        chosen = tuple(
            one for one in self._reloaders if not changes.keys().isdisjoint(one.group.tensors)
        )
        if not chosen:
            return
        names = [name for one in chosen for name in one.group.tensors]
        for name in names:
            self._check(name, changes.get(name))
        staged = self._staged(change, stage_fd)
        tensors = {name: as_stored(name, staged[name], self._places[name]) for name in names}
        for name, tensor in tensors.items():
            check_staged(name, tensor.keys, changes[name].after)
        self._prepared = _PreparedGroups(chosen, tensors, staged)

    def commit(self) -> None:
        """Load what was prepared, if anything.

        Raises:
            ReloadError: the loader has failed.
        """
        prepared = self._prepared
        if prepared is None:
            return

        def content(name: str) -> torch.Tensor:
            return as_tensor(prepared.staged[name].copy(), self._places[name])

        for reloader in prepared.reloaders:
            self._forget(reloader)
        for reloader in prepared.reloaders:
            reloader.reload(content)
            names = reloader.group.tensors
            self._applied.update({name: prepared.tensors[name] for name in names})
            self._digests[reloader] = reloader.digest()

    def drop(self) -> None:
        """Forget what was prepared."""
        self._prepared = None

    def _check(self, name: str, change: TensorUpdate | None) -> None:
        if change is None or len(change.indices) != block_count(self._nbytes[name]):
            detail = "it has to be sent whole, with all that is loaded together with it"
            raise RejectedTensorError(name, detail)
        if change.before != self._applied[name].keys:
            raise MovedOnError(f"something else was loaded into {name}")

    def _staged(self, change: WeightUpdate, stage_fd: int) -> dict[str, Bytes]:
        """The bytes of the tensors that are in a stage as wholes."""
        nbytes = stage_bytes(change, self._nbytes)
        stage = sealed.map_sealed(stage_fd, nbytes, sealed.STAGE_SEALS, "The stage")
        places = offsets(lengths(change, self._nbytes))
        found = {}
        for tensor in change.tensors:
            starts = [next(places)[0] for _ in tensor.indices]
            size = self._nbytes[tensor.name]
            if len(starts) == block_count(size):  # blocks are multiples of the stage's alignment
                first = starts[0] if starts else 0
                found[tensor.name] = stage[first : first + size]
        return found

    def _forget(self, reloader: Reloader) -> None:
        names = reloader.group.tensors
        self._applied.update({name: unknown(self._applied[name]) for name in names})
