"""Recipes: derived vectors of a commit that cannot be resolved, as those made of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.personality.resolve import Names
from pvc.repo.personality.vector import DerivedVector
from pvc.repo.snapshot import NoVectorError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc.repo.personality.config import Config
    from pvc.repo.personality.vector import Vector


class Recipes:
    """Checks the derived vectors of commits; the same vectors are checked once."""

    def __init__(self) -> None:
        self._checked: set[tuple[bytes, frozenset[tuple[str, str | None]]]] = set()

    def check(
        self, config: Config, vectors: Mapping[str, Vector], blobs: Mapping[str, str], where: str
    ) -> dict[str, PvcError]:
        """Why vectors of a commit cannot be resolved, by name.

        Args:
            config: names the base.
            vectors: all that can be read.
            blobs: the ids that git gives their content.
            where: the commit, for messages.
        """
        derived = {name: one for name, one in vectors.items() if isinstance(one, DerivedVector)}
        terms = {term.vector for one in derived.values() for term in one.recipe.terms}
        known = config.base_tree, frozenset((name, blobs.get(name)) for name in terms | {*derived})
        if not derived or known in self._checked:
            return {}
        self._checked.add(known)

        def vector(name: str) -> Vector:
            if name not in vectors:
                raise NoVectorError(name, where)
            return vectors[name]

        names, found = Names(config, vector), {}
        for name in derived:
            try:
                names.part(name, 1.0)
            except PvcError as error:
                found[name] = error
        return found
