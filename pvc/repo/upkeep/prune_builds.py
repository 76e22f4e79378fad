"""Pruning: built trees are a cache, which is kept within its limit.

Removed are only packs that were written for built trees, and only those of which no block is
needed: not by anything that history, targets or a journal refer to, and not by a built tree that
stays.  If any of these cannot be read, nothing is removed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pvc.repo.build.build_cache import BuiltTrees, keys_of
from pvc.repo.history.journal import JournalFile
from pvc.repo.upkeep.findings import Findings
from pvc.repo.upkeep.roots import read_roots
from pvc_store.errors import DamageError, LockedError, MissingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.repo.build.build_cache import BuiltTree
    from pvc.repo.personality.config import Config
    from pvc.repo.repository import Repository
    from pvc_store.files import FileStore

MODELS = 4
"""How many times the base's bytes built trees may take, unless `pvc.toml` says otherwise."""


def limit_of(repository: Repository, config: Config) -> int:
    """Bytes that built trees may take."""
    if config.built_limit is not None:
        return config.built_limit
    base = repository.store.tree(config.base_tree)
    return MODELS * sum(tensor.nbytes for tensor in base.values())


def prune(repository: Repository, limit: int) -> int:
    """Remove built trees, the longest unused first, until the rest is within a limit.

    The one used last stays.  The caller holds the repository's lock, and has written what it needs.

    Args:
        repository: where.
        limit: bytes of packs.

    Returns:
        Bytes that were freed.
    """
    store, cache = repository.store, BuiltTrees(repository.folder)
    built = cache.all()
    if _size(store, built) <= limit or JournalFile(repository).read() is not None:
        return 0
    kept = _within(store, built, limit)
    dropped = [one for one in built if one not in kept]
    with (
        contextlib.suppress(LockedError, MissingError, DamageError),
        store.removing("pruning of built trees"),
    ):
        return _remove(repository, kept, dropped)
    return 0


def _size(store: FileStore, built: Iterable[BuiltTree]) -> int:
    return sum(store.pack_size(pack) for pack in {pack for one in built for pack in one.packs})


def _within(store: FileStore, built: list[BuiltTree], limit: int) -> list[BuiltTree]:
    """The first ones that are within a limit together, at least one."""
    count = 1
    while count < len(built) and _size(store, built[: count + 1]) <= limit:
        count += 1
    return built[:count]


def _remove(repository: Repository, kept: list[BuiltTree], dropped: list[BuiltTree]) -> int:
    store, cache = repository.store, BuiltTrees(repository.folder)
    store.refresh()
    needed, there = _needed(repository), set(store.tree_ids())
    if needed is None or not needed <= there:
        return 0
    staying = needed | ({one.tree for one in kept} & there)
    going = [one for one in dropped if one.tree not in staying]
    keys = store.keys_in({pack for one in dropped for pack in one.packs})
    used = set().union(*(keys_of(store.tree(tree)) for tree in staying))
    free = {pack for pack, inside in keys.items() if not inside & used}
    freed = sum(map(store.pack_size, free))
    store.remove({one.tree for one in going}, free)
    for one in going:
        if not any(map(store.pack_size, one.packs)):  # else what is left has to be known
            cache.forget(one.digest)
    return freed


def _needed(repository: Repository) -> set[bytes] | None:
    """Trees that something refers to; None if that cannot be said for certain."""
    findings = Findings()
    roots = read_roots(repository, findings)
    if findings.all():
        return None
    return {*roots.trees, *roots.bases, *roots.base_of}
