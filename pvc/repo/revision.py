"""Revisions: what a text names, be it a commit, a vector, or the base.

base                the base alone
NAME                a branch, a tag, or a vector of HEAD; both at once is an error
NAME@REV            a vector as it was at a revision
main  v1  HEAD~2    whatever git understands
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build import Built, NotYetError, build
from pvc.repo.git import UnknownRevisionError
from pvc.repo.names import is_name
from pvc.repo.personality import Personality, Term
from pvc.repo.state import State

if TYPE_CHECKING:
    from pvc.repo.repository import Repository
    from pvc.repo.vector import CapturedVector

BASE = "base"


class AmbiguousError(PvcError):
    """A name is both a branch or tag and a vector, or would be.

    Attributes:
        name: the name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} cannot be both a vector and a branch or tag.")


@dataclass(frozen=True, slots=True)
class Revision:
    """What a text names.

    Attributes:
        text: the text.
        state: the commit it was found in.
        vector: name and vector, if it names a vector; None for a commit or the base.
        is_base: whether it names the base alone.
        branch: the branch, if it names one.
    """

    text: str
    state: State
    vector: tuple[str, CapturedVector] | None = None
    is_base: bool = False
    branch: str | None = None

    @property
    def is_commit(self) -> bool:
        """Whether HEAD can move there."""
        return self.vector is None and not self.is_base

    @property
    def terms(self) -> tuple[Term, ...] | None:
        """The terms it is the sum of; None for a vector that does not start at the base."""
        if self.is_base:
            return ()
        if self.vector is None:
            return self.state.personality.terms
        name, found = self.vector
        return (Term(name),) if found.origin == self.state.config.base_tree else None

    def build(self) -> Built:
        """Its tree and layout.

        Raises:
            NotYetError: it needs arithmetic.
        """
        config = self.state.config
        if self.is_base:
            return Built(config.base_tree, config.base_layout)
        if self.vector is None:
            return self.state.build()
        name, found = self.vector
        return build(config, Personality((Term(name),)), lambda _: found.link)


def resolve(repository: Repository, text: str) -> Revision:
    """What `text` names.

    Raises:
        UnknownRevisionError: nothing.
        AmbiguousError: a vector and a branch or tag at once.
        NotYetError: it is an expression.
    """
    head = repository.head()
    if text == BASE:
        return Revision(text, head, is_base=True)
    if is_name(text) and text in head.names:
        if repository.git.is_ref(text):
            raise AmbiguousError(text)
        return Revision(text, head, vector=(text, head.vector(text)))
    branches = dict(repository.git.branches())
    commit = branches.get(text) or repository.git.find(text)  # as `git checkout` prefers it
    if commit is not None:
        branch = repository.git.branch() if text in {"HEAD", "@"} else text
        return Revision(
            text, State(repository.git, commit), branch=branch if branch in branches else None
        )
    name, at, revision = text.partition("@")
    if at and is_name(name):
        return _vector_at(repository, text, name, revision)
    if any(operator in text for operator in ("+", "*", "(", " ")):
        raise NotYetError(repr(text), "expressions need arithmetic")
    raise UnknownRevisionError(text)


def _vector_at(repository: Repository, text: str, name: str, revision: str) -> Revision:
    commit = repository.git.find(revision)
    if commit is None:
        raise UnknownRevisionError(revision)
    state = State(repository.git, commit)
    return Revision(text, state, vector=(name, state.vector(name)))
