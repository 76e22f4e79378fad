"""What the engines of this user hold, as far as they and the repository know; no weights are read.

An engine is believed: its flags say whether torch wrote to its weights since pvc did, or whether
they are torn.  What torch does not count, only `pvc.live.commands.verify` finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.announced.folder import EngineFolder, NotPrivateError

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.live.announced.registry import Listed
    from pvc.live.protocol.engine_state import EngineState
    from pvc.live.protocol.manifest import Manifest
    from pvc.repo.repository import Repository
    from pvc.repo.targets.engine_record import EngineRecord

PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """An engine, seen from outside.

    Attributes:
        name: its name.
        manifest: what it tells about itself; None if that cannot be read.
        state: what it knows of its weights; None if it does not answer.
        problem: why it cannot be used, in a sentence; None if it can.
    """

    name: str
    manifest: Manifest | None
    state: EngineState | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """An engine, seen from a repository.

    Attributes:
        name: its name.
        condition: "clean" or "drifted" since a tree was written; "busy", being written right now;
            "torn"; "restarted" since, so that it holds what it loaded; "gone"; "foreign", written
            by another repository; "new", to which nobody has written; "unreachable".
        revision: what was checked out last, as the user said it, or None.
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


def see(folder: Path | None = None) -> tuple[Seen, ...]:
    """All engines of this user, each asked for its state.

    Args:
        folder: where engines are announced; None is the user's own.

    Raises:
        NotPrivateError: the folder cannot be trusted.
    """
    if EngineFolder(folder).is_empty():
        return ()  # without loading what connects to engines: `pvc status` is to answer at once
    from pvc.live.client.connection import engines

    return tuple(_see(one, folder) for one in engines(folder))


def _see(one: Listed, folder: Path | None) -> Seen:
    if one.manifest is None:
        return Seen(one.name, None, None, one.problem)
    from pvc.live.client.connection import connect

    try:
        with connect(one.name, folder, PATIENCE_SECONDS) as connection:
            return Seen(one.name, connection.manifest, connection.state(), None)
    except PvcError as error:
        return Seen(one.name, one.manifest, None, str(error))


def status(
    repository: Repository, head_tree: bytes | None, folder: Path | None = None
) -> tuple[EngineStatus, ...]:
    """The engines of this user, and those that the repository has written to and that are gone.

    Args:
        repository: which one asks.
        head_tree: tree id that HEAD builds to, or None if nobody built it yet.
        folder: where engines are announced; None is the user's own.

    A folder of engines that cannot be trusted is told as an engine of this kind.
    """
    try:
        seen = {one.name: one for one in see(folder)}
    except NotPrivateError as error:
        return (EngineStatus("*", "unreachable", detail=str(error)),)
    known = {one.engine: one for one in repository.engines.all()}
    found = [_status(repository, head_tree, one, known.get(one.name)) for one in seen.values()]
    gone = [
        EngineStatus(name, "gone", one.revision, one.tree, one.tree == head_tree)
        for name, one in known.items()
        if name not in seen
    ]
    return tuple(sorted((*found, *gone), key=lambda one: one.name))


def _status(
    repository: Repository, head_tree: bytes | None, seen: Seen, before: EngineRecord | None
) -> EngineStatus:
    from pvc.live.commands.engine_content import held, is_foreign, record

    name, state = seen.name, seen.state
    if seen.manifest is None or state is None:
        return EngineStatus(name, "unreachable", detail=seen.problem)
    if state.torn is not None:
        from pvc.live.engine.keeper import UNDER_WAY

        return EngineStatus(name, "busy" if state.torn == UNDER_WAY else "torn", detail=state.torn)
    if state.origin is not None and is_foreign(repository, state):
        origin = state.origin
        return EngineStatus(name, "foreign", origin.revision, origin.tree, detail=origin.repository)
    now = held(repository, seen.manifest, state)
    if now is not None:
        condition, touched = ("clean", ()) if now.clean else ("drifted", state.touched)
        is_head = now.tree == head_tree
        return EngineStatus(name, condition, now.revision, now.tree, is_head, touched=touched)
    if before is not None and record(repository, seen.manifest) is None:
        return EngineStatus(name, "restarted", before.revision, before.tree)
    return EngineStatus(name, "new")
