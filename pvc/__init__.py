"""Version control for the behaviour of language models.

pvc.open("."), pvc.share(model)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvc.api import open_repository as open  # noqa: A004  # read as pvc.open
    from pvc.live.pytorch.share import share

__version__ = "0.1.0"
__all__ = ["__version__", "open", "share"]


def __getattr__(name: str) -> Any:
    if name == "share":  # imports torch
        from pvc.live.pytorch.share import share

        return share
    if name == "open":
        from pvc.api import open_repository

        return open_repository
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
