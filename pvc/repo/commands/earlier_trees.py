"""Trees that HEAD's branch had before: a result may have started at one of them.

Runs that began at one HEAD are committed one after the other; for the second, HEAD is not what it
started from any more, and it may have most of HEAD's elements all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.snapshot import Snapshot

if TYPE_CHECKING:
    from pvc.repo.repository import Repository
    from pvc_store.tree import Tree

COMMITS = 50
TREES = 2


def earlier_trees(
    repository: Repository, head: Snapshot, known: frozenset[bytes]
) -> list[tuple[str, Tree]]:
    """The last other trees that HEAD's commits build to, each with the commit, as far as stored.

    Args:
        repository: where.
        head: HEAD.
        known: trees that are looked at anyhow.
    """
    found: dict[bytes, tuple[str, Tree]] = {}
    listed = repository.git.ask("rev-list", "--first-parent", f"--max-count={COMMITS}", head.commit)
    for commit in listed.split():
        state = Snapshot(repository.git, commit)
        try:
            builds = Builds(repository, state.config)
            built = builds.find(state.formula, stored=True)
            if built is None or built.tree in known or built.tree in found:
                continue
            tree = repository.find_tree(built.tree)
            if tree is not None:
                found[built.tree] = state.where, tree
        except PvcError:  # before pvc, with malformed files, or with trees that are lost
            continue
        if len(found) == TREES:
            break
    return list(found.values())
