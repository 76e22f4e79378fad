"""Version control for the behaviour of language models.

`pvc.open(".")` is a repository for Python programs, `pvc.share(model)` makes an engine of a PyTorch
process.  Everything else belongs to rooms:

`cli` parses a command and calls one use case of `repo.commands` or `live.commands`.  A commit reads
a checkpoint (`weights`) or an engine (`live`), codes its blocks against the base (`codec`), and
stores them (`pvc_store`).  A checkout resolves names to a formula (`repo.personality`), computes
its tree where that is not stored (`repo.build`, `merge`), and writes it to a target.  Nothing heavy
is imported here: torch only by `pvc.share`.

Tests: tests/repo/ and the other folders of tests/, which mirror the rooms.
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
