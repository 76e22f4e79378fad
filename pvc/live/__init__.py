"""Engines: running processes whose weights pvc reads, verifies and changes in place.

    share                 make an engine of a PyTorch process (needs torch)
    attach                make one of an offline vLLM (see pvc.live.vllm)
    engines, connect      find one, talk to it
    update                check a tree out into it
    verify, content       compare it with a tree; what it holds
    LiveSource            its tensors, to be captured

In the engine's process:  share > placing, cuda > control > keeper > writer, gate
In the client's:          connection > reading, updating, source
Both:                     manifest, state, change, applied, wire, sealed, memory, region, folder,
                          registry

Only the engine's own process writes its weights.  Limits: Linux; one host; one user.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection, connect, engines
    from pvc.live.client.reading import content, verify
    from pvc.live.client.source import LiveSource
    from pvc.live.client.updating import Updated, UpdateGoal, update
    from pvc.live.pytorch.share import share
    from pvc.live.vllm.offline import attach

__all__ = [
    "Connection",
    "LiveSource",
    "UpdateGoal",
    "Updated",
    "attach",
    "connect",
    "content",
    "engines",
    "share",
    "update",
    "verify",
]


_MODULES = {
    "Connection": "client.connection",
    "UpdateGoal": "client.updating",
    "LiveSource": "client.source",
    "Updated": "client.updating",
    "attach": "vllm.offline",
    "connect": "client.connection",
    "content": "client.reading",
    "engines": "client.connection",
    "share": "pytorch.share",
    "update": "client.updating",
    "verify": "client.reading",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and no more: `pvc status` is to answer at once."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
