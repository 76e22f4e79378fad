"""`pvc merge NAME...`: one derived vector made of others."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.merge import methods
from pvc.repo.commands.derive import check_new, derive
from pvc.repo.commands.editing import Edited, ready
from pvc.repo.commands.scale import RepeatedTermError
from pvc.repo.history.recording import NothingChangedError
from pvc.repo.personality.formula import Mix
from pvc.repo.personality.personality_file import Personality, Term
from pvc.repo.personality.resolve import Names
from pvc.repo.personality.vector import DerivedVector, Recipe
from pvc.repo.personality.vector_names import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc.merge.parameters import Value
    from pvc.parallel import Crew
    from pvc.repo.build.taus import TrimFacts
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot


class RepeatedVectorError(PvcError):
    """A vector is to be combined with itself.

    Attributes:
        name: the vector.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} is named more than once.")


@dataclass(frozen=True, slots=True)
class Combination:
    """Vectors that are to become one.

    Attributes:
        names: the vectors; none stands for all terms of the personality.
        method: a name of `pvc.merge.methods.METHODS`.
        parameters: of the method, by name; others have their defaults.
        new: the derived vector to make, which is not applied; None replaces the terms.
    """

    names: tuple[str, ...]
    method: str = "sum"
    parameters: Mapping[str, Value] = field(default_factory=dict)
    new: str | None = None


@dataclass(frozen=True, slots=True)
class Combined:
    """Vectors that became one.

    Attributes:
        edited: the commit.
        name: the new vector.
        vector: its recipe and counts.
        trim: thresholds and conflicts, if the method trims.
    """

    edited: Edited
    name: str
    vector: DerivedVector
    trim: TrimFacts | None


def combine(repository: Repository, wish: Combination, crew: Crew) -> Combined:
    """Derive a vector from others; without a name for it, it takes the place of their terms.

    Terms of the personality are taken with their scales, other vectors at 1.  For a method that
    trims the whole model is read, to find what is kept of each.

    Raises:
        NoVectorError: there is no such vector.
        RepeatedTermError, RepeatedVectorError: a vector is there more than once.
        ParameterError: there is no such method, or it does not have these parameters.
        NothingChangedError: there is nothing to combine.
        NameTakenError, AmbiguousError, VectorNameError: the new name is taken or not allowed.
        IdentityError: the personality could not be computed.
    """
    rule = methods.rule(wish.method, wish.parameters)
    with repository.lock():
        head = ready(repository)
        terms = _terms(head, wish.names)
        recipe = Recipe(rule, terms)
        if wish.new is None and recipe == Recipe(methods.SUM, terms[:1]):
            raise NothingChangedError(f"the personality is {head.personality} already")
        made = DerivedVector(recipe)
        name = wish.new or _free_name(repository, head, recipe)
        check_new(repository, head, name, made)
        trim = _facts(repository, head, made, crew)
        if trim is not None:
            made = replace(made, counts=_counts(terms, trim))
        after = head.personality if wish.new else _replaced(head.personality, terms, name)
        edited = derive(repository, head, name, made, after)
        return Combined(edited, name, made, trim)


def _free_name(repository: Repository, head: Snapshot, recipe: Recipe) -> str:
    """A name after the vectors that something is made of, which nothing has yet."""
    joined = "_".join(term.vector.replace(".", "_") for term in recipe.terms)
    if len(joined) > MAX_NAME - 10:
        joined = f"{recipe.rule.method.name}_of_{len(recipe.terms)}"
    numbered = (f"{joined}_{number}" for number in itertools.count(2))
    names = itertools.chain([joined], numbered)
    return next(
        name for name in names if name not in head.names and not repository.git.is_ref(name)
    )


def _replaced(before: Personality, terms: tuple[Term, ...], name: str) -> Personality:
    """The personality with a new vector in the place of the first of some terms."""
    merged = {term.vector for term in terms}
    kept = [term for term in before.terms if term.vector not in merged]
    places = [i for i, term in enumerate(before.terms) if term.vector in merged]
    kept.insert(min(places, default=len(kept)), Term(name))
    return Personality(tuple(kept))


def _facts(
    repository: Repository, head: Snapshot, made: DerivedVector, crew: Crew
) -> TrimFacts | None:
    recipe = made.recipe
    if recipe.rule.facts is None:
        return None
    from pvc.repo.build.merge_facts import MergeFacts

    names = Names(head.config, head.vector)
    parts = tuple(names.part(term.vector, term.scale) for term in recipe.terms)
    mix = Mix(recipe.rule, parts)
    with repository.blocks(head.config) as blocks:
        facts = MergeFacts(repository.folder, blocks, repository.store.tree, crew)
        facts.add(mix)
        return facts.get(mix)


def _counts(terms: tuple[Term, ...], trim: TrimFacts) -> tuple[tuple[str, int], ...]:
    counts = {"elements": trim.elements}
    for term, kept, outvoted in zip(terms, trim.kept, trim.outvoted, strict=True):
        counts[f"kept {term.vector}"] = kept
        counts[f"outvoted {term.vector}"] = outvoted
    return tuple(sorted(counts.items()))


def _terms(head: Snapshot, names: tuple[str, ...]) -> tuple[Term, ...]:
    terms = {}
    for term in head.personality.terms:
        if term.vector in terms and (not names or term.vector in names):
            raise RepeatedTermError(term.vector)
        terms[term.vector] = term
    for name in names:
        head.vector(name)
        if names.count(name) > 1:
            raise RepeatedVectorError(name)
    chosen = tuple(terms.get(name, Term(name)) for name in names or terms)
    if not chosen:
        raise NothingChangedError(f"the personality is {head.personality} already")
    return chosen
