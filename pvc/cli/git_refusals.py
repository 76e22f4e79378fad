"""What git says when it refuses: the exit code and the hint for each of its sentences."""

from __future__ import annotations

import re
from typing import Any

from pvc.cli.exit_codes import LOCKED, NAME, NO, OTHER, names_of

ERROR = "pvc.repo.git.process:GitError"

REFUSALS: tuple[tuple[str, int, str], ...] = (
    (r"\.lock': File exists", LOCKED, "Wait until the other git command has ended. If none is "
     "running, one was killed: remove the lock file."),
    (r"tell me who you are|empty ident|auto-detect email", OTHER, "Tell git who you are: `git "
     "config --global user.name NAME` and `git config --global user.email ADDRESS`."),
    (r"git is not installed", OTHER, "Install git: pvc keeps its history in a git repository."),
    (r"dubious ownership", OTHER, "The repository belongs to another user. To trust it: `git "
     "config --global --add safe.directory DIR`."),
    (r"not fully merged", NO, "Use `pvc branch -D NAME` to delete it anyway."),
    (r"checked out at|used by worktree", NO, "Run `pvc switch` to another branch first."),
    (r"already exists", NAME, "Choose another name, or delete the existing one with `-d`."),
    (r"not found", NAME, "Use `pvc branch` or `pvc tag` to list the existing ones."),
    (r"is not a valid|cannot lock ref", NAME, "Choose another name; see `git help "
     "check-ref-format`."),
)  # fmt: skip
"""A pattern of what git says, the exit code, the hint."""


def refusal(error: Any) -> tuple[int, str] | None:
    """Exit code and hint of something that git refused; None if its sentence is not listed."""
    if ERROR not in names_of(error):
        return None
    found = ((code, hint) for says, code, hint in REFUSALS if re.search(says, error.detail))
    return next(found, None)
