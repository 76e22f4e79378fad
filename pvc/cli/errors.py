"""What an error becomes: its exit code, its hint, and its fields in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.cli import hints
from pvc.cli.exit_codes import CODES, OTHER, names_of
from pvc.cli.git_refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FIELDS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "pvc.repo.commands.commit_edits:UnresolvedError": lambda error: {"paths": list(error.paths)},
    "pvc.repo.commands.merge_branch:MergeConflictError": lambda error: {
        "conflicts": [
            {"sort": one.sort, "name": one.name, "ours": one.ours, "theirs": one.theirs}
            for one in error.conflicts
        ]
    },
    "pvc.repo.personality.expression:ExpressionError": lambda error: {"column": error.at + 1},
}


def code_of(error: BaseException) -> int:
    """The exit code of an error: that of its nearest class that has one."""
    refused = refusal(error)
    if refused is not None:
        return refused[0]
    return next((CODES[name] for name in names_of(error) if name in CODES), OTHER)


def hint_of(error: BaseException) -> str | None:
    """What the user can do next, in one sentence; None if nothing is known."""
    refused = refusal(error)
    return hints.hint_of(error) if refused is None else refused[1]


def fields_of(error: BaseException) -> dict[str, Any]:
    """The fields of --json that an error has beside its message."""
    found = next((FIELDS[name] for name in names_of(error) if name in FIELDS), None)
    return {} if found is None else found(error)
