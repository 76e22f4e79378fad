"""Clients that are killed: a process that forks one per line, `TREE POINT`, and says what it does.

A client updates the engine to tree 0 or 1 of two, and kills itself at a point, or is killed by the
test: before each phase it writes the phase's name.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pvc import live
from pvc.live.announced import registry
from pvc.live.announced.folder import EngineFolder
from pvc.live.client.connection import Connection
from pvc.live.protocol import wire
from tests.live.conftest import CREW, held

if TYPE_CHECKING:
    from pvc.live.protocol.engine_state import EngineState
    from pvc.live.protocol.update import WeightUpdate
    from pvc_store.tree import Tensor
    from tests.live.conftest import Bytes, Weights

POINTS = ("half a message", "before commit", "commit sent", "staging", "none")


def say(what: str) -> None:
    os.write(1, f"{what}\n".encode())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Told(Connection):
    """Says what it is about to do, and dies where it is told to."""

    point = "none"

    def prepare(self, change: WeightUpdate, stage: int) -> EngineState:
        say("prepare")
        if self.point == "half a message":
            self._socket.sendall(struct.pack("<I", 1000) + b'{"request": "prep')
            die()
        found = super().prepare(change, stage)
        if self.point == "before commit":
            die()
        return found

    def commit(self) -> EngineState:
        say("commit")
        if self.point == "commit sent":
            wire.send(self._socket, {"request": "commit"})
            die()
        return super().commit()


def switch(connection: Told, before: Weights, after: Weights) -> None:
    def read(tensor: Tensor, index: int, out: Bytes) -> None:
        after.read(tensor, index, out)
        if connection.point == "staging" and len(after.reads) == 9:
            die()

    drifted, _ = live.verify(connection, before.tree, CREW)
    now = after if drifted else before
    live.update(connection, now.tree, live.UpdateGoal(after.tree, "/r", "x"), read, CREW)


def main() -> None:
    name, folder = sys.argv[1], EngineFolder(Path(sys.argv[2]))
    with Connection(folder, registry.load(folder, name)) as connection:
        base = held(connection)
    both = [base, base.changed(step=300_000)]
    say("ready " + " ".join(one.tree.id.hex() for one in both))
    for line in sys.stdin:
        number, point = line.strip().split(" ", 1)
        child = os.fork()
        if child:
            say(f"child {child}")
            os.waitpid(child, 0)
            say("ended")
            continue
        after, before = both[int(number)], both[1 - int(number)]

        with Told(folder, registry.load(folder, name)) as connection:
            connection.point = point
            switch(connection, before, after)
        say("done")
        os._exit(0)


if __name__ == "__main__":
    main()
