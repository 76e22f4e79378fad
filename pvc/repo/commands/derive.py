"""A new derived vector: is its name free, can it be computed, and the commit that adds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.repo.build.builds import Builds
from pvc.repo.commands.editing import Edited, NameTakenError, checked, recorded
from pvc.repo.history.revision import AmbiguousError
from pvc.repo.personality import vector_file
from pvc.repo.personality.resolve import Names, total
from pvc.repo.personality.vector_names import check_name
from pvc.repo.snapshot import vector_path

if TYPE_CHECKING:
    from pvc.repo.personality.personality_file import Personality
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
    new = head.with_files({vector_path(name): vector_file.to_text(made).encode()})
    parts = [Names(new.config, new.vector).part(name, 1.0)]
    Builds(repository, new.config).check(total(new.config, parts))


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
    edited = head.with_vector(name, made).with_personality(after)
    built = checked(repository, head, edited)
    return recorded(repository, edited, f"{name} = {made.recipe}", built)
