"""Branches and tags: git's own, guarded so that no name is a vector's too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.git import UnknownRevisionError
from pvc.repo.history.recovery import recover
from pvc.repo.history.revision import BASE, AmbiguousError
from pvc.repo.personality.vector_names import RESERVED

if TYPE_CHECKING:
    from pvc.repo.repository import Repository


class NoBranchError(UnknownRevisionError):
    """There is no branch of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "no branch")


class BranchAndTagError(PvcError):
    """A name would be both a branch and a tag.

    Attributes:
        name: the name.
        there: "branch" or "tag", which there is already.
    """

    def __init__(self, name: str, there: str) -> None:
        self.name = name
        self.there = there
        super().__init__(f"There is a {there} {name} already; {name} cannot be branch and tag.")


class RefNameError(PvcError):
    """A text cannot name a branch or a tag.

    Attributes:
        name: the text.
        kind: "branch" or "tag".
        reason: what is wrong with it.
    """

    def __init__(self, name: str, kind: str, reason: str) -> None:
        self.name = name
        self.kind = kind
        self.reason = reason
        super().__init__(f"{name!a} cannot name a {kind}: {reason}.")


def create_branch(repository: Repository, name: str, start: str) -> str:
    """A new branch at a revision; HEAD stays.  Returns the commit.

    Raises:
        AmbiguousError: HEAD has a vector of that name.
        BranchAndTagError: there is a tag of that name.
        UnknownRevisionError: `start` names no commit.
        GitError: git refuses the name.
    """
    return _create(repository, "branch", name, start)


def create_tag(repository: Repository, name: str, start: str) -> str:
    """A new tag at a revision.  Returns the commit; raises as `create_branch`, vice versa."""
    return _create(repository, "tag", name, start)


def _create(repository: Repository, command: str, name: str, start: str) -> str:
    with repository.lock():
        recover(repository)
        check_free(repository, name, command)
        commit = _commit(repository, start)
        repository.git.run(command, "--", name, commit)
        return commit


def delete_branch(repository: Repository, name: str, *, force: bool) -> None:
    """Delete a branch; its commits stay in the reflog, and its vectors in the store.

    Raises:
        GitError: there is no such branch, it is checked out, or it is not merged and not forced.
    """
    with repository.lock():
        recover(repository)
        repository.git.run("branch", "-D" if force else "-d", "--", name)


def delete_tag(repository: Repository, name: str) -> None:
    """Delete a tag.

    Raises:
        GitError: there is no such tag.
    """
    with repository.lock():
        recover(repository)
        repository.git.run("tag", "-d", "--", name)


def switch(repository: Repository, name: str, *, create: bool, start: str = "HEAD") -> str:
    """Move HEAD to a branch, leaving weights where they are.  Returns the commit.

    Args:
        repository: where.
        name: the branch.
        create: make the branch first.
        start: where a new branch begins.

    Raises:
        NoBranchError: there is no such branch; UnknownRevisionError: `start` names no commit.
        EditedError: HEAD would move away from edits.
        AmbiguousError, BranchAndTagError: a vector or a tag has the new branch's name.
    """
    with repository.lock():
        recover(repository)
        git = repository.git
        if create:
            check_free(repository, name, "branch")
            commit = _commit(repository, start)
            if commit != git.head():
                repository.check_clean()
            git.run("checkout", "--quiet", "-b", name, commit, "--")
            return commit
        branches = dict(git.branches())
        if name not in branches:
            raise NoBranchError(name)
        repository.check_clean()
        git.move(name, detach=False)
        return branches[name]


def check_free(repository: Repository, name: str, kind: str) -> None:
    """Make sure that a name for a "branch" or a "tag" can be read, and means nothing else.

    Raises:
        RefNameError: a word of git's, or characters that a terminal does not show as they are.
        AmbiguousError: it is a vector's, or the base's.
        BranchAndTagError: it is that of a tag, or of a branch.
    """
    if name in RESERVED - {BASE}:
        raise RefNameError(name, kind, "the word has a meaning of its own")
    if not name.isprintable():
        raise RefNameError(name, kind, "it has characters that cannot be seen")
    if name == BASE or name in repository.head().names:
        raise AmbiguousError(name)
    branches, tags = dict(repository.git.branches()), dict(repository.git.tags())
    if kind == "branch" and name in tags:
        raise BranchAndTagError(name, "tag")
    if kind == "tag" and name in branches:
        raise BranchAndTagError(name, "branch")


def _commit(repository: Repository, text: str) -> str:
    commit = repository.git.find(text)
    if commit is None:
        raise UnknownRevisionError(text)
    return commit
