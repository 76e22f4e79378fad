"""`pvc serve`: one shared model behind OpenAI's HTTP interface.

`serve` takes the address, loads the model, shares it as an engine, and answers requests until it is
told to stop; `require` makes sure that the extra `serve` is installed.  transformers generates, one
request at a time, each in one step of the engine: no reply mixes two sets of weights, and a
checkout into the engine waits for the request under way.

    server > http > model

Limits: text only; no tools, no beams, no penalties.
Tests: tests/serve/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvc.serve.extra import MissingExtraError, require

if TYPE_CHECKING:
    from pvc.serve.server import serve

__all__ = ["MissingExtraError", "require", "serve"]


def __getattr__(name: str) -> Any:
    if name == "serve":
        from pvc.serve.server import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
