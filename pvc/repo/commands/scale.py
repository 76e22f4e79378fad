"""`pvc scale` and `pvc negate`: the scale of a term, or a scaled vector of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.merge.methods import SUM
from pvc.repo.commands.derive import check_new, derive
from pvc.repo.commands.editing import Edited, checked, ready, recorded
from pvc.repo.history.recording import NothingChangedError
from pvc.repo.personality.personality_file import Personality, Term
from pvc.repo.personality.vector import DerivedVector, Recipe

if TYPE_CHECKING:
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot


class RepeatedTermError(PvcError):
    """A vector is a term more than once, so that no one scale is its scale.

    Attributes:
        name: the vector.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} is a term of the personality more than once.")


class ScaleError(PvcError):
    """A number cannot be a scale, or a factor of a combination.

    Attributes:
        scale: the number.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale
        super().__init__(f"{scale} cannot be a scale: it is not finite.")


@dataclass(frozen=True, slots=True)
class Scaling:
    """A vector that is to have a scale.

    Attributes:
        name: the vector.
        scale: finite factor of its tau; with 0 it has no effect.
        new: the derived vector to make; None sets the term of the personality.
    """

    name: str
    scale: float
    new: str | None = None


def rescale(repository: Repository, wish: Scaling) -> Edited:
    """Set the scale of a term, which is added if it is not there; or derive a scaled vector.

    Raises:
        NoVectorError: there is no such vector.
        ScaleError: the scale is not finite.
        RepeatedTermError: the vector is a term more than once.
        NothingChangedError: the term has this scale already.
        NameTakenError, AmbiguousError, VectorNameError: the new name is taken or not allowed.
        IdentityError: the personality could not be computed.
    """
    if not math.isfinite(wish.scale):
        raise ScaleError(wish.scale)
    term = Term(wish.name, wish.scale + 0.0)  # which is never -0
    with repository.lock():
        head = ready(repository)
        head.vector(wish.name)
        if wish.new is not None:
            made = DerivedVector(Recipe(SUM, (term,)))
            check_new(repository, head, wish.new, made)
            return derive(repository, head, wish.new, made, head.personality)
        return _change(repository, head, _with_term(head.personality, term), _worded(term))


def _worded(term: Term) -> str:
    return f"{term.vector} at {term.scale:g}"


def _with_term(before: Personality, term: Term) -> Personality:
    places = [i for i, old in enumerate(before.terms) if old.vector == term.vector]
    if len(places) > 1:
        raise RepeatedTermError(term.vector)
    place = places[0] if places else len(before.terms)
    return Personality((*before.terms[:place], term, *before.terms[place + 1 :]))


def _change(repository: Repository, head: Snapshot, after: Personality, message: str) -> Edited:
    if after == head.personality:
        raise NothingChangedError(f"the personality is {after} already")
    edited = head.with_personality(after)
    return recorded(repository, edited, message, checked(repository, head, edited))
