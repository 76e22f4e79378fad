"""`pvc serve`: one shared model behind OpenAI's HTTP interface.

    serve        load a model, share it, and answer until told to stop
    require      make sure that the extra `serve` is installed

    server > app > turns > reply > generation > loaded
             app > asked, answers, limits         reply > continuation

Generation is transformers' own, one request at a time, each in one step of the engine: no reply
mixes two sets of weights.  Limits: text only; no tools, no beams, no penalties.
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
