"""One worker of vLLM as a rank of an engine: it connects, prepares, and commits.

It sends its number and its manifest, with the descriptors of its storages, and then answers.

    request                      answer
    {"request": "prepare", ...}  {}; the stage comes as a descriptor
    {"request": "commit"}        {}
    {"request": "applied"}       as pvc.live.protocol.applied_tensors has it
    {"request": "check"}         {}; refused if the model computes with other weights than these
    {"request": "drop"}          {}

A refusal is {"error": class, "message": sentence}.  The other side sees to it that no step is under
way while a commit is.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

from pvc.errors import PvcError
from pvc.live.engine.writer import Writer
from pvc.live.protocol import applied_tensors, wire
from pvc.live.protocol.update import WeightUpdate
from pvc.live.vllm.ranks.share_part import share_part
from pvc.parallel import default_threads

if TYPE_CHECKING:
    from pvc.live.vllm.ranks.share_part import WorkerModel
    from pvc.strict_json import Fields

log = logging.getLogger("vllm.pvc")

PEER = "The process that shares this vLLM"


class Rank:
    """One worker's part of an engine.

    Args:
        worker: the worker's model.
        number: the worker's rank among all.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        UnshareableError, DeviceError: a tensor cannot be shared.
        RoomError: there is too little memory.
    """

    def __init__(self, worker: WorkerModel, number: int) -> None:
        self._number = number
        self._closing = contextlib.ExitStack()
        part = share_part(worker, number, self._closing)
        shared = part.shared
        self._manifest = part.manifest
        self._descriptors = tuple(shared.descriptors)
        self._writer = Writer(part.manifest, shared.memories, shared.targets, default_threads())
        self._indirect = part.indirect
        self._watch = part.watch
        self._connection: socket.socket | None = None

    def join(self, address: str) -> None:
        """Offer this rank to the process that listens at an address, and to nobody else.

        Args:
            address: of an abstract Unix socket.

        Raises:
            OSError: no process listens there.
            PeerError: another user does.
        """
        self.leave()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(f"\0{address}")
            wire.check_peer(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        threading.Thread(
            target=self._serve, args=(connection,), name="pvc rank", daemon=True
        ).start()

    def leave(self) -> None:
        """Hang up; the weights stay shared, and cannot be changed any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        reasons = [{"name": name, "reason": why} for name, why in self._indirect.refused.items()]
        hello = {
            "rank": self._number, "manifest": self._manifest.to_json(), "reasons": reasons,
        }  # fmt: skip
        with connection, contextlib.suppress(wire.HungUpError, OSError):
            try:
                wire.send(connection, hello, self._descriptors)
                while True:
                    self._answer(connection)
            except wire.MessageError as error:
                log.warning("pvc: Rank %d has hung up: %s", self._number, error)
        self._drop()

    def _drop(self) -> None:
        self._writer.drop()
        self._indirect.drop()

    def _answer(self, connection: socket.socket) -> None:
        fields, fds = wire.receive(connection, PEER)
        try:
            request = fields.text("request")
            wire.send(connection, self._reply(request, fields, fds))
        finally:
            wire.close_all(fds)
        if request in {"commit", "drop"}:
            self._drop()  # last: to give a stage back takes as long as to copy it

    def _reply(self, request: str, fields: Fields, fds: list[int]) -> dict[str, Any]:
        try:
            return self._do(request, fields, fds)
        except wire.MessageError:
            raise
        except PvcError as error:
            return {"error": type(error).__name__, "message": str(error)}

    def _do(self, request: str, fields: Fields, fds: list[int]) -> dict[str, Any]:
        if request in {"prepare", "applied", "check"}:
            self._watch.check()
        if request == "prepare":
            change = WeightUpdate.parse(fields)
            if len(fds) != 1:
                raise fields.wrong(f"it brings {len(fds)} stages")
            self._writer.prepare(change, fds[0])
            self._indirect.prepare(change, fds[0])
            return {}
        fields.finish()
        if request == "applied":
            return applied_tensors.to_json(self._indirect.applied())
        if request == "commit":
            self._writer.commit()
            self._indirect.commit()
        elif request not in {"check", "drop"}:
            raise fields.wrong(f"it asks for {request[:60]!r}, which is unknown")
        return {}
