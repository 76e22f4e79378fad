"""Engines: running processes whose weights pvc reads, verifies and changes in place.

    share                 make an engine of a PyTorch process (needs torch)
    engines, connect      find one, talk to it
    update                check a tree out into it
    verify, content       compare it with a tree; what it holds
    LiveSource            its tensors, to be captured

In the engine's process:  share > placing, cuda > control > keeper > writer, gate
In the client's:          connection > reading, update, source
Both:                     manifest, state, change, wire, sealed, memory, region, folder, registry

Only the engine's own process writes its weights.  Limits: Linux; one host; one user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvc.live.connection import Connection, connect, engines
from pvc.live.reading import content, verify
from pvc.live.source import LiveSource
from pvc.live.update import Goal, Updated, update

if TYPE_CHECKING:
    from pvc.live.share import share

__all__ = [
    "Connection",
    "Goal",
    "LiveSource",
    "Updated",
    "connect",
    "content",
    "engines",
    "share",
    "update",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "share":
        from pvc.live.share import share

        return share
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
