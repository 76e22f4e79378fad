"""Version control for the behaviour of language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvc.live.share import share

__version__ = "0.1.0"
__all__ = ["__version__", "share"]


def __getattr__(name: str) -> Any:
    if name == "share":  # imports torch
        from pvc.live.share import share

        return share
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
