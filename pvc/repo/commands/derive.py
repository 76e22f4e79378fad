"""A new derived vector: is its name free, can it be computed, and the commit that adds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.repo.commands.editing import Edited, NameTakenError, build_with, recorded
from pvc.repo.history.recording import PendingCommit, at
from pvc.repo.history.revision import AmbiguousError
from pvc.repo.personality import personality_file, vector_file
from pvc.repo.personality.personality_file import Personality, Term
from pvc.repo.personality.vector_names import check_name
from pvc.repo.snapshot import vector_path

if TYPE_CHECKING:
    from pvc.repo.personality.vector import DerivedVector
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot


def check_new(repository: Repository, head: Snapshot, name: str, made: DerivedVector) -> None:
    """Make sure that the name is free, and that the vector can be computed.

    Raises:
        VectorNameError: the name is not allowed.
        AmbiguousError: a branch, a tag or another reference has it.
        NameTakenError: a vector has it.
        IdentityError: a tensor cannot be computed with.
    """
    check_name(name)
    if repository.git.is_ref(name):
        raise AmbiguousError(name)
    if name in head.names:
        raise NameTakenError(name)
    files: dict[str, bytes | None] = {vector_path(name): vector_file.to_text(made).encode()}
    build_with(repository, head, Personality((Term(name),)), files)


def derive(
    repository: Repository, head: Snapshot, name: str, made: DerivedVector, after: Personality
) -> Edited:
    """Commit a new vector, and the personality that goes with it.

    Args:
        repository: where; locked.
        head: HEAD.
        name: of the vector; checked before.
        made: the vector.
        after: the personality from now on; HEAD's own leaves the vector unapplied.
    """
    files: dict[str, bytes | None] = {vector_path(name): vector_file.to_text(made).encode()}
    if after != head.personality:
        files[personality_file.PATH] = personality_file.edit(head.personality_text, after).encode()
    built = build_with(repository, head, after, files)
    return recorded(
        repository, after, PendingCommit(at(head), files, f"{name} = {made.recipe}", built)
    )
