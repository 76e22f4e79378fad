"""The environment of git: what git told a hook, an alias or a filter is not passed on.

A hook of another repository, or of this one, finds variables that point every git it starts to that
repository, to a temporary index, or to a quarantine.  pvc goes by directories alone.  What says who
commits, how to connect and how git is configured stays: git passes that on to other repositories,
too.
"""

from __future__ import annotations

import os

LOCAL = (
    # `git rev-parse --local-env-vars`, without GIT_CONFIG_PARAMETERS and GIT_CONFIG_COUNT
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
    # what git does not list there, although it is about one repository or one command
    "GIT_ATTR_SOURCE",
    "GIT_GLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_QUARANTINE_PATH",
    "GIT_REFLOG_ACTION",
)
"""Variables that git does not get."""

ENGLISH = {"LANGUAGE": "C", "LC_ALL": "C"}
"""What git says is looked at."""


def environment() -> dict[str, str]:
    """The variables of this process that git gets, and English."""
    return {name: value for name, value in os.environ.items() if name not in LOCAL} | ENGLISH


def without_local(kept: frozenset[str] = frozenset()) -> list[str]:
    """The beginning of a command that takes these variables away; nothing if there are none.

    GitPython gives a git all variables of this process, and can only add some.

    Args:
        kept: those that the caller sets for this command.
    """
    there = [name for name in LOCAL if name in os.environ and name not in kept]
    return ["env", *(word for name in there for word in ("-u", name))] if there else []
