"""What pvc needs of git.  The only package that speaks to it.

    locks      what a killed git leaves
    process    running git, in the repository around a directory
    objects    refs, commits and their files, the log, notes
    index      commits of pvc's own files; bringing these to HEAD
    worktree   moving HEAD, locks, what git has not finished

Each adds to the one before it; `Git` is all of them.
"""

from pvc.repo.git.commits import remove_indexes
from pvc.repo.git.objects import LogEntry, UnknownRevisionError
from pvc.repo.git.process import GitError, NoRepositoryError, ObjectFormatError
from pvc.repo.git.worktree import BlockedMoveError, Git, UnfinishedError

__all__ = [
    "BlockedMoveError",
    "Git",
    "GitError",
    "LogEntry",
    "NoRepositoryError",
    "ObjectFormatError",
    "UnfinishedError",
    "UnknownRevisionError",
    "remove_indexes",
]
