"""Engines: running processes whose weights pvc reads, verifies and changes in place.

`pvc.share` makes an engine of a PyTorch process, `attach` one of an offline vLLM; `engines` lists
them, `connect` talks to one, `verify` and `content` read it, `update` writes a tree into it, and
`EngineTensors` are its tensors, to be captured.  Only the engine's own process writes its weights,
between two of its steps: the client stages the blocks that differ, the engine checks them, copies
them, and verifies what it wrote.

    rooms of the engine's process      pytorch | vllm > engine
    rooms of the client's process      commands > client
    rooms of both                      announced, memory > protocol

Limits: Linux; one host; one user.
Tests: tests/live/.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection, connect, engines
    from pvc.live.client.engine_tensors import EngineTensors
    from pvc.live.client.reading import content, verify
    from pvc.live.client.updating import Updated, UpdateGoal, update
    from pvc.live.pytorch.share import share
    from pvc.live.vllm.offline import attach

__all__ = [
    "Connection",
    "EngineTensors",
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
    "EngineTensors": "client.engine_tensors",
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
