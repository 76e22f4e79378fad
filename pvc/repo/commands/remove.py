"""`pvc rm`: a vector goes, with its behaviour; history and store keep both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.repo.build.builds import Builds
from pvc.repo.commands.editing import DependentError, Edited, derived_from, ready, recorded
from pvc.repo.snapshot import BEHAVIOURS, vector_path

if TYPE_CHECKING:
    from pvc.repo.repository import Repository


def remove(repository: Repository, name: str) -> Edited:
    """Remove a vector, with its behaviour.

    Raises:
        NoVectorError: there is none of that name.
        DependentError: the personality has it as a term, or another vector is derived from it.
    """
    with repository.lock():
        head = ready(repository)
        head.vector(name)
        dependents = [f"the vector {other}" for other in derived_from(head, name)]
        if name in head.personality.names():
            dependents.insert(0, "the personality")
        if dependents:
            raise DependentError(name, tuple(dependents))
        paths = (vector_path(name), f"{BEHAVIOURS}/{name}.toml")
        there = (path for path in paths if head.read(path) is not None)
        built = Builds(repository, head.config).find_current(head.formula)
        after = head.with_files(dict.fromkeys(there))
        return recorded(repository, after, f"Remove {name}", built)
