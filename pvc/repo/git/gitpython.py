"""GitPython: imported when it is needed, and asked to run git as all of pvc runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pvc.repo.git.environment import without_local

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import git

REFRESH = "GIT_PYTHON_REFRESH"


def gitpython() -> ModuleType:
    """GitPython; its import asks for git's version, and fails if it gets no answer.

    pvc reports a git that is missing in its own words, when it starts one.
    """
    found = os.environ.get(REFRESH)
    os.environ[REFRESH] = found or "quiet"
    try:
        import git
    finally:
        if found is None:
            del os.environ[REFRESH]
    return git


def execute(there: git.Git, arguments: Sequence[str], **options: Any) -> Any:
    """Run a git command; returns and raises as GitPython's `execute`."""
    kept = frozenset(options.get("env") or ())
    return there.execute([*without_local(kept), "git", *arguments], **options)
