"""The engine that is meant where none is named: the one that the repository knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.announced.registry import NoEngineError, SeveralEnginesError
from pvc.live.client.connection import connect, engines
from pvc.live.client.reading import OtherModelError, check_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pvc.live.announced.registry import AnnouncedEngine
    from pvc.live.client.connection import Connection
    from pvc.live.protocol.manifest import Manifest
    from pvc.repo.repository import Repository


def connect_known(
    repository: Repository, name: str | None, folder: Path | None = None
) -> Connection:
    """Connect to an engine.

    Args:
        repository: whose engine it is.
        name: its name; None stands for the only one that runs, or the only one of those that the
            repository has written to, or the only one that runs the base's model.
        folder: where engines are announced; None is the user's own.

    Raises:
        NoEngineError, SeveralEnginesError: there is no one such engine.
        PvcError: see `connect`.
    """
    return connect(name or _choice(repository, engines(folder)), folder)


def _choice(repository: Repository, announced: Sequence[AnnouncedEngine]) -> str:
    running = {one.name: one.manifest for one in announced if one.manifest is not None}
    if not running:
        raise NoEngineError(None, ())
    recorded = [one.engine for one in repository.engines.all() if one.engine in running]
    base = repository.head().config.base_tree
    fitting = [name for name, manifest in running.items() if fits(repository, manifest, base)]
    for names in (list(running), recorded, fitting):
        if len(names) == 1:
            return names[0]
    raise SeveralEnginesError(tuple(recorded or fitting or running))


def fits(repository: Repository, manifest: Manifest, tree: bytes) -> bool:
    """Whether an engine runs the model that a tree is of."""
    try:
        check_model(manifest, repository.store.tree(tree))
    except OtherModelError:
        return False
    except PvcError:  # the tree is missing, as `pvc fsck` says
        return True
    return True
