"""The action of a commit: its vector is captured anew, extended, or replaced.

If NAME is the last term of what the result was trained from, and led to just that tree, the vector
is extended: it keeps its old `from`.  If the starting point contains NAME otherwise, the commit is
refused: NAME would count twice.  Else the vector is replaced; history keeps the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.personality.personality_file import Personality, Term
from pvc.repo.personality.vector import CapturedVector

if TYPE_CHECKING:
    from pvc.repo.commands.commit_origin import CommitOrigin
    from pvc.repo.snapshot import Snapshot


class ContainedError(PvcError):
    """A result was trained from something that contains the vector it is to replace.

    Attributes:
        name: the vector.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"The checkpoint was trained from a personality that contains {name} already, "
            f"and {name} is not its last step."
        )


class AppliedError(PvcError):
    """A vector is a term of the personality, so that replacing it would not be aside.

    Attributes:
        name: the vector.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} is a term of the personality; replacing it would change that.")


@dataclass(frozen=True, slots=True)
class CommitAction:
    """What a commit does to a name.

    Attributes:
        action: "captured", "extended" or "replaced".
        start: tree id of the vector's `from`.
        personality: the personality afterwards.
        reached: the terms that lead to the result, or None where they are not known.
    """

    action: str
    start: bytes
    personality: Personality
    reached: tuple[Term, ...] | None


def plan(head: Snapshot, name: str, origin: CommitOrigin, *, aside: bool) -> CommitAction:
    """The action of committing a result that started at `origin` as `name`.

    Raises:
        ContainedError: the origin contains the name, and not as its last step.
        AppliedError: aside, but the name is a term of the personality.
    """
    action, start = _action(head, name, origin)
    terms = head.personality.terms
    applied = name in head.personality.names()
    if aside and applied:
        raise AppliedError(name)
    if not applied:
        terms = (*terms, Term(name))
    if aside:
        return CommitAction(action, start, head.personality, _reached(origin, action, name))
    return CommitAction(action, start, Personality(terms), terms)


def _reached(origin: CommitOrigin, action: str, name: str) -> tuple[Term, ...] | None:
    if origin.terms is None or action == "extended":
        return origin.terms
    return (*origin.terms, Term(name))


def _action(head: Snapshot, name: str, origin: CommitOrigin) -> tuple[str, bytes]:
    if name not in head.names:
        return "captured", origin.tree
    terms = origin.terms or ()
    old = head.vector(name)
    last = bool(terms) and terms[-1] == Term(name)
    if last and isinstance(old, CapturedVector) and origin.tree == old.to_tree:
        return "extended", old.from_tree
    if any(term.vector == name for term in terms):
        raise ContainedError(name)
    return "replaced", origin.tree
