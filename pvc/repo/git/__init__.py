"""git: all that pvc asks of it, and the only room that speaks to it.

    environment     the variables that git gets
    gitpython       GitPython, and how it runs git
    locks           locks that a killed git leaves
    object_reader   the process that reads objects
    process         running git, in the repository around a directory
    objects         refs, commits and their files, the log, notes
    commits         commits of pvc's own files; bringing these to HEAD
    merge           merging commits
    attributes      pvc's own files stay byte for byte
    worktree        moving HEAD, locks, unfinished operations

Each class adds to the one before it; `Git` is all of them.  git's refusals become `GitError`.

Called by everything in `pvc.repo`, through an open repository or a snapshot.

Tests: tests/repo/git/, tests/repo/crash/.
"""

from pvc.repo.git.commits import remove_indexes
from pvc.repo.git.objects import FileChange, LogEntry, UnknownRevisionError
from pvc.repo.git.process import GitError, NoRepositoryError, ObjectFormatError
from pvc.repo.git.worktree import BlockedMoveError, Git, UnfinishedError

__all__ = [
    "BlockedMoveError",
    "FileChange",
    "Git",
    "GitError",
    "LogEntry",
    "NoRepositoryError",
    "ObjectFormatError",
    "UnfinishedError",
    "UnknownRevisionError",
    "remove_indexes",
]
