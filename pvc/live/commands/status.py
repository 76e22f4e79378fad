"""The status of this user's engines, as they and the repository tell it; no weights are read.

An engine is believed: its state says whether torch wrote to its weights since pvc did, or whether
they are torn.  Writes that torch does not count are only found by `pvc.live.commands.verify`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.announced.folder import EngineFolder, NotPrivateError
from pvc.repo.build.labels import as_of_now

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.live.announced.registry import AnnouncedEngine
    from pvc.live.protocol.engine_state import ContentLabel
    from pvc.live.protocol.manifest import Manifest
    from pvc.repo.repository import Repository
    from pvc.repo.targets.engine_record import EngineRecord

PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """An engine, seen from a repository.

    Attributes:
        name: its name.
        condition: "clean" or "drifted" since a tree was written; "busy", being written right now;
            "torn"; "restarted" since, so that it holds what it loaded; "gone"; "foreign", written
            by another repository; "other", it runs another model; "new", not written to yet;
            "unreachable".
        revision: what was checked out last: a branch, tag, commit, vector or expression, or None.
        tree: tree id of that, or None.
        is_head: whether that is HEAD's tree.
        detail: why it is busy, torn or unreachable, or which repository wrote to it; else None.
        touched: names of the tensors to which torch wrote since, if it drifted.
    """

    name: str
    condition: str
    revision: str | None = None
    tree: bytes | None = None
    is_head: bool = False
    detail: str | None = None
    touched: tuple[str, ...] = ()


def ask_all(folder: Path | None = None) -> tuple[AnnouncedEngine, ...]:
    """All engines of this user, with their states.

    Args:
        folder: where engines are announced; None is the user's own.

    Raises:
        NotPrivateError: the folder cannot be trusted.
    """
    if EngineFolder(folder).is_empty():
        return ()  # without loading what connects to engines: `pvc status` is to answer at once
    from pvc.live.client.connection import engines

    return tuple(_ask(one, folder) for one in engines(folder))


def _ask(one: AnnouncedEngine, folder: Path | None) -> AnnouncedEngine:
    if one.manifest is None:
        return one
    from pvc.live.client.connection import connect

    try:
        with connect(one.name, folder, PATIENCE_SECONDS) as connection:
            return replace(one, manifest=connection.manifest, state=connection.state())
    except PvcError as error:
        return replace(one, problem=str(error))


def status(
    repository: Repository, head_tree: bytes | None, folder: Path | None = None
) -> tuple[EngineStatus, ...]:
    """The engines of this user, and those that have ended and that the repository wrote to.

    Args:
        repository: which one asks.
        head_tree: tree id that HEAD builds to, or None if it was not built yet.
        folder: where engines are announced; None is the user's own.

    If the folder of engines cannot be trusted, one entry "*" says so.
    """
    try:
        seen = {one.name: one for one in ask_all(folder)}
    except NotPrivateError as error:
        return (EngineStatus("*", "unreachable", detail=str(error)),)
    known = {one.engine: one for one in repository.engines.all()}
    found = [_status(repository, head_tree, one, known.get(one.name)) for one in seen.values()]
    gone = [
        EngineStatus(
            name,
            "gone",
            as_of_now(repository, one.revision, one.tree),
            one.tree,
            one.tree == head_tree,
        )
        for name, one in known.items()
        if name not in seen
    ]
    return tuple(sorted((*found, *gone), key=lambda one: one.name))


def _status(
    repository: Repository,
    head_tree: bytes | None,
    seen: AnnouncedEngine,
    before: EngineRecord | None,
) -> EngineStatus:
    from pvc.live.commands.engine_content import content_of, fits, is_foreign, record_of
    from pvc.live.protocol.engine_state import Phase

    name, state = seen.name, seen.state
    if seen.manifest is None or state is None:
        return EngineStatus(name, "unreachable", detail=seen.problem)
    if state.phase is not Phase.STEADY:
        condition = "busy" if state.phase is Phase.WRITING else "torn"
        return EngineStatus(name, condition, detail=state.pause)
    if state.origin is not None and is_foreign(repository, seen.manifest, state):
        return _stranger(repository, seen.manifest, state.origin)
    now = content_of(repository, seen.manifest, state)
    if now is not None:
        condition, touched = ("clean", ()) if now.clean else ("drifted", state.touched)
        is_head = now.tree == head_tree
        revision = as_of_now(repository, now.revision, now.tree)
        return EngineStatus(name, condition, revision, now.tree, is_head, touched=touched)
    recorded = before is not None and fits(repository, seen.manifest, before.tree)
    if before is not None and recorded and record_of(repository, seen.manifest) is None:
        revision = as_of_now(repository, before.revision, before.tree)
        return EngineStatus(name, "restarted", revision, before.tree)
    return _stranger(repository, seen.manifest, None)


def _stranger(
    repository: Repository, manifest: Manifest, origin: ContentLabel | None
) -> EngineStatus:
    """An engine that this repository has not written to."""
    from pvc.live.commands.engine_content import fits

    name = manifest.name
    if not fits(repository, manifest, repository.head().config.base_tree):
        return EngineStatus(name, "other")
    if origin is None:
        return EngineStatus(name, "new")
    return EngineStatus(name, "foreign", origin.revision, origin.tree, detail=origin.repository)
