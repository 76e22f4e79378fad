"""All ranks of an engine as one writer, in the process that clients talk to."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from pvc.live.engine.update_checks import RejectedTensorError, check_before, check_fits
from pvc.live.memory import sealed
from pvc.live.memory.host import HostMemory, pieces_of
from pvc.live.protocol import applied_tensors
from pvc.live.pytorch.placement import HOST
from pvc.live.vllm.ranks.joined_manifest import join_manifests
from pvc.live.vllm.ranks.rank_connection import RankConnection, RankError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.live.protocol.update import WeightUpdate
    from pvc.strict_json import Fields
    from pvc_store.tree import Tensor

CHECK_WAIT_SECONDS = 0.2
"""How long a check waits for ranks that are at work; these check by themselves what they need."""


class Ranks:
    """All ranks; they prepare together, and commit together.

    Attributes:
        manifest: of the engine.
        descriptors: of the host's storages, in the order of the manifest.
    """

    def __init__(self, name: str, peers: list[RankConnection]) -> None:
        self._peers = peers
        self.descriptors = [fd for peer in peers for fd in peer.descriptors]
        self.manifest = join_manifests(name, [peer.manifest for peer in peers])
        self._reasons = {name: why for peer in peers for name, why in peer.reasons.items()}
        self._memories = self._map()
        self._prepared = False
        self._lock = threading.Lock()  # over requests and their answers

    def prepare(self, change: WeightUpdate, stage_fd: int) -> None:
        """Let all ranks check an update; nothing is changed.

        Raises:
            RejectedTensorError: it does not fit the engine.
            MovedOnError: a block that it replaces is another one than the client thinks.
            RankError: a rank refuses.
        """
        self._check_changeable(change)
        check_fits(change, self.manifest)
        self._check_divided(change)
        self._prepared = True
        self._all({"request": "prepare", **change.to_json()}, (stage_fd,))

    def commit(self) -> None:
        """Let all ranks write what they have prepared, and verify it.

        Raises:
            RankError: a rank has not, or has other bytes than it wrote.
        """
        self._prepared = False
        self._all({"request": "commit"})

    def applied(self) -> list[Tensor]:
        """What was last applied to the tensors that are not direct, as far as all ranks agree.

        Raises:
            RankError: a rank does not say.
            MessageError: its answer is malformed.
        """
        if not self.manifest.indirect:
            return []
        agreed: dict[str, Tensor] = {}
        for peer, fields in zip(self._peers, self._all({"request": "applied"}), strict=True):
            every = applied_tensors.parse(fields, self.manifest)
            for name in peer.manifest.indirect:
                found = agreed.setdefault(name, every[name])
                if found != every[name]:
                    agreed[name] = applied_tensors.unknown(self.manifest.tensors[name])
        return list(agreed.values())

    def check(self) -> None:
        """Make sure that all ranks compute with the weights that they share; not while they write.

        Raises:
            RankError: one does not.
        """
        if self._lock.acquire(timeout=CHECK_WAIT_SECONDS):
            try:
                self._ask({"request": "check"})
            finally:
                self._lock.release()

    def drop(self) -> None:
        """Let all ranks drop what they have prepared."""
        if self._prepared:
            self._prepared = False
            with contextlib.suppress(RankError):
                self._all({"request": "drop"})

    def close(self) -> None:
        """Close all connections; weights stay as they are."""
        for peer in self._peers:
            peer.close()

    def _all(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> list[Fields]:
        with self._lock:
            return self._ask(message, fds)

    def _ask(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> list[Fields]:
        """Ask all at once, and hear all before the first refusal is raised."""
        failures = [peer.ask(message, fds) for peer in self._peers]
        heard = [why or peer.hear() for why, peer in zip(failures, self._peers, strict=True)]
        answers = []
        for peer, answer in zip(self._peers, heard, strict=True):
            if isinstance(answer, str):
                raise RankError(f"Rank {peer.number} of the engine: {answer}")
            answers.append(answer)
        return answers

    def _check_changeable(self, change: WeightUpdate) -> None:
        for tensor in change.tensors:
            if tensor.name in self._reasons:
                raise RejectedTensorError(tensor.name, self._reasons[tensor.name])

    def _check_divided(self, change: WeightUpdate) -> None:
        """Compare those blocks of which no rank holds all; the ranks compare the others."""
        if self._memories is None:
            return
        for part in change.tensors:
            tensor = self.manifest.tensors[part.name]
            for index, before, _ in part.blocks():
                if (
                    len(set(self._ranks_of(piece.storage for piece in pieces_of(tensor, index))))
                    > 1
                ):
                    check_before(tensor, index, before, self._memories)

    def _ranks_of(self, storages: Iterable[int]) -> Iterable[int]:
        return (self.manifest.storages[storage].rank for storage in storages)

    def _map(self) -> list[HostMemory] | None:
        """All storages, for reading; None if some are a GPU's."""
        storages = self.manifest.storages
        if any(storage.device != HOST for storage in storages):
            return None
        return [
            HostMemory(sealed.map_sealed(fd, one.nbytes, sealed.WEIGHTS_SEALS, "A rank's memory"))
            for fd, one in zip(self.descriptors, storages, strict=True)
        ]
