"""The results of `pvc branch` and `pvc tag`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvc.cli.output import columns, current

if TYPE_CHECKING:
    from collections.abc import Sequence


def listed(kind: str, found: Sequence[tuple[str, str]], here: str | None) -> None:
    """Write a list of branches or tags."""
    document: dict[str, Any] = {
        kind: [{"name": name, "commit": commit, "current": name == here} for name, commit in found]
    }
    rows = [(f"{'*' if name == here else ' '} {name}", commit[:10]) for name, commit in found]
    current().answer(document, columns(rows) if rows else [])


def done(name: str, commit: str | None) -> None:
    """Write the result for one branch or tag."""
    line = f"{name} deleted" if commit is None else f"{name} is at {commit[:10]}"
    current().answer({"name": name, "commit": commit}, [line])
