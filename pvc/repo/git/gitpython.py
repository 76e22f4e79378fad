"""GitPython: imported when it is needed, and asked to run git as all of pvc runs it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pvc.repo.git.environment import LOCAL, without_local

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import git

REFRESH = "GIT_PYTHON_REFRESH"


def gitpython() -> ModuleType:
    """GitPython; its import asks for git's version, and fails if it gets no answer.

    pvc reports a git that is missing in its own words, when it starts one.
    """
    if "git" not in sys.modules:
        before = {name: os.environ.pop(name) for name in LOCAL if name in os.environ}
        unset = REFRESH not in os.environ
        os.environ.setdefault(REFRESH, "quiet")
        try:
            import_module("git")
        finally:
            os.environ.update(before)
            if unset:
                del os.environ[REFRESH]
    return sys.modules["git"]


def execute(there: git.Git, arguments: Sequence[str], **options: Any) -> Any:
    """Run a git command; returns and raises as GitPython's `execute`."""
    kept = frozenset(options.get("env") or ())
    return there.execute([*without_local(kept), "git", *arguments], **options)
