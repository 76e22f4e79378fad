"""Revisions: a text that names a commit, a vector, the base, or a sum of them.

base                the base alone
NAME                a branch, a tag, or a vector of HEAD; both at once is an error
NAME@REV            a vector as it was at a revision
main  v1  HEAD~2    whatever git understands
main - 0.5*NAME     a sum of these; the base has to come to 1, or to 0 for a sum of vectors alone
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.git import UnknownRevisionError
from pvc.repo.personality.expression import ExpressionError, is_expression, parse
from pvc.repo.personality.formula import FormulaPart, reduced
from pvc.repo.personality.personality_file import Term
from pvc.repo.personality.resolve import Names, total
from pvc.repo.personality.vector import CapturedVector
from pvc.repo.personality.vector_names import is_name
from pvc.repo.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.repo.personality.expression import Addend
    from pvc.repo.personality.formula import Formula, Operand
    from pvc.repo.personality.vector import Vector
    from pvc.repo.repository import Repository

BASE = "base"
NEAR = 1e-9
"""How far from 0 or 1 the scales of all weights in an expression may come: 0.7 + 0.2 + 0.1 is."""


class AmbiguousError(PvcError):
    """A name is both a branch or tag and a vector, or would be.

    Attributes:
        name: the name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} cannot be both a vector and a branch or tag.")


class UnknownOperandError(ExpressionError):
    """A name in an expression is neither a revision nor a vector.

    Attributes:
        revision: the name.
        close: names that are like it, for whoever tells people.
    """

    def __init__(self, text: str, at: int, revision: str) -> None:
        self.revision = revision
        self.close: tuple[str, ...] = ()
        super().__init__(text, at, f"{revision!r} is neither a revision nor a vector")


@dataclass(frozen=True, slots=True)
class Revision:
    """What a text names.

    Attributes:
        text: the text.
        state: the commit it was found in.
        vector: name and vector, if it names a vector; None for a commit or the base.
        is_base: whether it names the base alone.
        branch: the branch, if it names one.
        parts: what an expression adds to the base; None for anything else.
        is_tau: whether it names vectors alone, which have no weights of their own.
        rounded: whether its weights are to have the base's dtypes, although they were committed in
            wider ones.
    """

    text: str
    state: Snapshot
    vector: tuple[str, Vector] | None = None
    is_base: bool = False
    branch: str | None = None
    parts: tuple[FormulaPart, ...] | None = None
    is_tau: bool = False
    rounded: bool = False

    @property
    def is_commit(self) -> bool:
        """Whether HEAD can move there."""
        plain = self.vector is None and not self.is_base and self.parts is None
        return plain and not self.rounded

    @property
    def label(self) -> str:
        """What stays true of it when HEAD moves: a branch, a tag, a commit's id, or the text."""
        return f"{self._label} rounded" if self.rounded else self._label

    @property
    def _label(self) -> str:
        if self.is_base or self.parts is not None:
            return self.text
        if self.vector is not None:
            name, at, _ = self.text.partition("@")
            return f"{name}@{self.state.where}" if at else name
        if self.branch is not None:
            return self.branch
        tags = [name for name, commit in self.state.git.tags() if commit == self.state.commit]
        return self.text if self.text in tags else next(iter(tags), self.state.where)

    @property
    def terms(self) -> tuple[Term, ...] | None:
        """The terms it is the sum of; None for a vector that does not start at the base."""
        if self.is_base:
            return ()
        if self.parts is not None:
            return None
        if self.vector is None:
            return self.state.personality.terms
        name, found = self.vector
        if isinstance(found, CapturedVector) and found.from_tree != self.state.config.base_tree:
            return None
        return (Term(name),)

    @property
    def formula(self) -> Formula:
        """What it is; a vector alone is added to the base."""
        return self._formula.in_dtypes_of_base() if self.rounded else self._formula

    @property
    def _formula(self) -> Formula:
        config = self.state.config
        if self.is_base:
            return total(config, ())
        if self.parts is not None:
            return total(config, self.parts)
        if self.vector is None:
            return self.state.formula
        return total(config, [Names(config, self.state.vector).part(self.vector[0], 1.0)])

    @property
    def added(self) -> tuple[FormulaPart, ...]:
        """What it adds to the base, part by part."""
        return self.parts if self.parts is not None else tuple(_parts(self))


def resolve(repository: Repository, text: str) -> Revision:
    """What `text` names.

    Raises:
        UnknownRevisionError: nothing.
        AmbiguousError: a vector and a branch or tag at once.
        ExpressionError: it is a malformed expression.
        UnknownOperandError: a name in an expression names nothing.
        NoVectorError, UnresolvableError: a vector in it cannot be resolved.
    """
    head = repository.head()
    if text == BASE:
        return Revision(text, head, is_base=True)
    if is_name(text) and text in head.names:
        if repository.git.is_ref(text):
            raise AmbiguousError(text)
        return Revision(text, head, vector=(text, head.vector(text)), is_tau=True)
    if text in {"HEAD", "@"}:
        return Revision(text, head, branch=repository.git.branch())
    branches = dict(repository.git.branches())
    commit = branches.get(text) or repository.git.find(text)  # as `git checkout` prefers it
    if commit is not None:
        branch = text if text in branches else None
        return Revision(text, Snapshot(repository.git, commit), branch=branch)
    name, at, revision = text.partition("@")
    if at and is_name(name):
        return _vector_at(repository, text, name, revision)
    if is_expression(text) and not text.startswith("--"):
        return _expression(repository, head, text)
    raise UnknownRevisionError(text)


def _vector_at(repository: Repository, text: str, name: str, revision: str) -> Revision:
    commit = repository.git.find(revision)
    if commit is None:
        raise UnknownRevisionError(revision)
    state = Snapshot(repository.git, commit)
    return Revision(text, state, vector=(name, state.vector(name)), is_tau=True)


def _expression(repository: Repository, head: Snapshot, text: str) -> Revision:
    bases = 0.0
    parts: dict[Operand, FormulaPart] = {}
    for addend in parse(text):
        found = _operand(repository, text, addend)
        if found.state.config.base_tree != head.config.base_tree:
            raise ExpressionError(text, addend.at, f"{addend.name} has another base")
        bases += 0.0 if found.is_tau else addend.scale
        for added in found.added:
            part = reduced(FormulaPart(addend.scale * added.scale, added.operand, added.label))
            known = parts.get(part.operand)
            scale = part.scale + (known.scale if known else 0.0)
            if not math.isfinite(scale):
                reason = f"the scale of {part.label} is not finite as float64"
                raise ExpressionError(text, addend.at, reason)
            parts[part.operand] = FormulaPart(scale, part.operand, part.label)
    is_tau = math.isclose(bases, 0, abs_tol=NEAR)
    if not is_tau and not math.isclose(bases, 1, abs_tol=NEAR):
        reason = f"it takes weights {bases:.9g} times, and not once"
        raise ExpressionError(text, 0, reason)
    return Revision(text, head, parts=tuple(parts.values()), is_tau=is_tau)


def _operand(repository: Repository, text: str, addend: Addend) -> Revision:
    try:
        return resolve(repository, addend.name)
    except UnknownRevisionError as error:
        at = addend.at + max(0, addend.name.rfind(error.revision))
        raise UnknownOperandError(text, at, error.revision) from None


def _parts(found: Revision) -> Iterator[FormulaPart]:
    """What a revision adds to the base."""
    names = Names(found.state.config, found.state.vector)
    if found.vector is not None:
        yield names.part(found.vector[0], 1.0)
    elif not found.is_base:
        for term in found.state.personality.terms:
            yield names.part(term.vector, term.scale)
