"""What a repository calls a tree that an engine turned out to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.client.reading import content
from pvc.live.commands.engine_content import is_of
from pvc.repo.build.builds import Builds
from pvc.repo.personality.vector import CapturedVector
from pvc.repo.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.live.client.connection import Connection
    from pvc.parallel import Crew
    from pvc.repo.repository import Repository
    from pvc_store.tree import Tree

BASE = "base"


def held_tree(
    repository: Repository, connection: Connection, like: Tree, crew: Crew
) -> tuple[str, bytes] | None:
    """Name and id of the tree that an engine holds, if the repository has a name for it.

    Reads all of it.

    Args:
        repository: where.
        connection: to the engine.
        like: a tree of its model.
        crew: threads and progress.
    """
    found, _ = content(connection, crew, like)
    for name, tree_id in _named(repository):
        tree = repository.find_tree(tree_id)
        if tree is not None and is_of(found, tree, connection.manifest.unloaded):
            return name, tree_id
    return None


def _named(repository: Repository) -> Iterator[tuple[str, bytes]]:
    """Trees by their names: the base, branches and tags as far as they were built, vectors."""
    head = repository.head()
    yield BASE, head.config.base_tree
    for name, commit in (*repository.git.branches(), *repository.git.tags()):
        tree = _tree(repository, commit)
        if tree is not None:
            yield name, tree
    for name in head.names:
        vector = head.vector(name)
        if isinstance(vector, CapturedVector):
            yield name, vector.to_tree


def _tree(repository: Repository, commit: str) -> bytes | None:
    state = Snapshot(repository.git, commit)
    try:
        return Builds(repository, state.config).tree_of(state.formula)
    except PvcError:  # a commit without pvc's files, or with malformed ones
        return None
