"""`pvc mv`: a vector gets another name, in terms, recipes, behaviours and target records too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pvc.repo.build.builds import Builds
from pvc.repo.commands.editing import Edited, NameTakenError, derived_from, ready, recorded
from pvc.repo.history.revision import AmbiguousError
from pvc.repo.personality.personality_file import Personality, Term
from pvc.repo.personality.vector import DerivedVector
from pvc.repo.personality.vector_names import check_name
from pvc.repo.snapshot import BEHAVIOURS, vector_path

if TYPE_CHECKING:
    from pvc.repo.commands.editing import Changes
    from pvc.repo.personality.vector import Vector
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot
    from pvc.repo.targets.directory_record import DirectoryRecord
    from pvc.repo.targets.engine_record import EngineRecord


def rename(repository: Repository, old: str, new: str) -> Edited:
    """Rename a vector, with its terms and its behaviour.

    Raises:
        NoVectorError: there is none of the old name.
        NameTakenError, AmbiguousError, VectorNameError: the new name is taken or not allowed.
    """
    check_name(new)
    with repository.lock():
        head = ready(repository)
        head.vector(old)
        if repository.git.is_ref(new):
            raise AmbiguousError(new)
        after = head.with_files(_moved_files(head, old, new))
        for other in derived_from(head, old):
            after = after.with_vector(other, _renamed_within(head.vector(other), old, new))
        after = after.with_personality(
            Personality(_renamed_terms(head.personality.terms, old, new))
        )
        built = Builds(repository, head.config).find_current(head.formula)
        records = _records(repository, old, new)
        return recorded(repository, after, f"Rename {old} to {new}", built, records)


def _moved_files(head: Snapshot, old: str, new: str) -> Changes:
    """The files of a vector under its new name, in place of those under the old one."""
    changes: Changes = {}
    for before, after in (
        (vector_path(old), vector_path(new)),
        (f"{BEHAVIOURS}/{old}.toml", f"{BEHAVIOURS}/{new}.toml"),
    ):
        if head.read(after) is not None:
            raise NameTakenError(new)
        data = head.read(before)
        if data is not None:
            changes |= {before: None, after: data}
    return changes


def _records(
    repository: Repository, old: str, new: str
) -> tuple[DirectoryRecord | EngineRecord, ...]:
    """All target records with the new name in their terms."""
    records: list[DirectoryRecord | EngineRecord]
    records = [*repository.targets.all(), *repository.engines.all()]
    return tuple(
        replace(record, terms=_renamed_terms(record.terms, old, new))
        for record in records
        if record.terms is not None
    )


def _renamed_within(vector: Vector, old: str, new: str) -> DerivedVector:
    if not isinstance(vector, DerivedVector):
        raise TypeError("only derived vectors name others")
    recipe = replace(vector.recipe, terms=_renamed_terms(vector.recipe.terms, old, new))
    counts = tuple((_renamed_count(key, old, new), value) for key, value in vector.counts)
    return replace(vector, recipe=recipe, counts=counts)


def _renamed_count(key: str, old: str, new: str) -> str:
    count, _, name = key.partition(" ")
    return f"{count} {new}" if name == old else key


def _renamed_terms(terms: tuple[Term, ...], old: str, new: str) -> tuple[Term, ...]:
    return tuple(replace(term, vector=new) if term.vector == old else term for term in terms)
