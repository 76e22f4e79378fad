"""What is said of weights that were checked out some time ago: a branch may have moved since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.snapshot import Snapshot

if TYPE_CHECKING:
    from pvc.repo.repository import Repository


def as_of_now(repository: Repository, label: str, tree: bytes) -> str:
    """A label, with a remark if it is a branch that builds to another tree by now.

    Args:
        repository: where.
        label: what was checked out; see `Revision.label`.
        tree: tree id of that.
    """
    commit = repository.git.branch_commit(label)
    if commit is None:
        return label
    state = Snapshot(repository.git, commit)
    try:
        now = Builds(repository, state.config).tree_of(state.formula)
    except PvcError:  # the branch is not pvc's any more
        return label
    return label if now in {None, tree} else f"{label} as it was"
