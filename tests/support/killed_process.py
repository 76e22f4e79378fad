"""Commands that are killed at a point: a process that forks one per line, `COMMAND ARGUMENT POINT`.

A point is a function, before or after which the process kills itself.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvc import live
from pvc.live.client.connection import Connection
from pvc.live.commands.checkout import EngineTarget
from pvc.live.commands.commit import EngineSource
from pvc.repo.commands import commit as commit_module
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.git import Git
from pvc.repo.repository import Repository
from pvc.repo.targets.engine_record import EngineRecords
from tests.live.conftest import CREW

if TYPE_CHECKING:
    from collections.abc import Callable

FUNCTIONS: dict[str, tuple[Any, str]] = {
    "prepare": (Connection, "prepare"),
    "commit": (Connection, "commit"),
    "save": (EngineRecords, "save"),
    "move": (Git, "move"),
    "record": (commit_module, "record"),
    "git": (Git, "commit"),
}


def deadly(function: Callable[..., Any], when: str) -> Callable[..., Any]:
    """The function, and death before or after it."""

    def called(*arguments: Any, **options: Any) -> Any:
        found = None if when == "before" else function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return found

    return called


def say(what: object) -> None:
    os.write(1, f"{what}\n".encode())


def main() -> None:
    root, name, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    say("ready")
    for line in sys.stdin:
        command, argument, when, point = line.split()
        child = os.fork()
        if not child:
            owner, function = FUNCTIONS[point]
            setattr(owner, function, deadly(getattr(owner, function), when))
            with Repository.open(root) as repository, live.connect(name, folder) as connection:
                if command == "checkout":
                    checkout(repository, argument, EngineTarget(connection), crew=CREW)
                else:
                    commit(repository, Wish(argument), EngineSource(connection), CREW)
            os._exit(0)
        say(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
