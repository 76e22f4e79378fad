"""Verify: every block of an engine is compared with a revision's tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.live.client.reading import verify
from pvc.live.commands.engine_content import content_of, record_of
from pvc.live.commands.known_trees import held_tree
from pvc.repo.build.builds import Builds
from pvc.repo.build.labels import as_of_now
from pvc.repo.history.recovery import recover
from pvc.repo.history.revision import resolve
from pvc.repo.targets.records import RecordError

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection
    from pvc.parallel import Crew
    from pvc.repo.repository import Repository
    from pvc.repo.targets.engine_record import EngineRecord
    from pvc_store.tree import Tree


@dataclass(frozen=True, slots=True)
class Verified:
    """An engine, compared with a tree.

    Attributes:
        engine: its name.
        revision: what it was compared with: a branch, tag, commit, vector or expression.
        tree: tree id of that.
        nbytes: bytes that were compared.
        drifted: names of the tensors that differ.
        unread: names of those that the engine keeps in another form, so that only the keys it
            remembers of them were compared.
        held: name and tree id of what it holds instead, if the repository has a name for it.
        recorded: what an earlier process of its name had, so that `restore` can bring it back.
        unloaded: names of tensors that the engine does not load, and so has none of.
    """

    engine: str
    revision: str
    tree: bytes
    nbytes: int
    drifted: tuple[str, ...]
    unread: tuple[str, ...] = ()
    held: tuple[str, bytes] | None = None
    recorded: str | None = None
    unloaded: tuple[str, ...] = ()


def check(repository: Repository, connection: Connection, text: str | None, crew: Crew) -> Verified:
    """Compare an engine's weights with a revision; the engine goes on meanwhile.

    Args:
        repository: where.
        connection: to the engine.
        text: a revision, vector or expression; None stands for what was last checked out into the
            engine or committed from it, also into an earlier process of its name; or for HEAD.
        crew: threads and progress.

    Raises:
        OtherModelError: the engine runs another model.
        UnsteadyError: its weights change all the time.
    """
    revision, tree = _wanted(repository, connection, text, crew)
    drifted, _ = verify(connection, tree, crew)
    unread = tuple(name for name in tree if name in connection.manifest.indirect)
    manifest = connection.manifest
    unloaded = tuple(name for name in manifest.unloaded if name in tree)
    nbytes = sum(
        one.nbytes for name, one in tree.items() if name in manifest.tensors and name not in unread
    )
    held = held_tree(repository, connection, tree, crew) if drifted and not unread else None
    earlier = _earlier(repository, connection)
    if earlier is not None and held is not None and earlier.tree == held[1]:
        earlier = None
    return Verified(
        connection.name, revision, tree.id, nbytes, drifted, unread, held,
        None if earlier is None else as_of_now(repository, earlier.revision, earlier.tree),
        unloaded,
    )  # fmt: skip


def _earlier(repository: Repository, connection: Connection) -> EngineRecord | None:
    """The record of an earlier process of an engine's name."""
    try:
        found = repository.engines.find(connection.name)
    except RecordError:  # `pvc status` reports it
        return None
    return found if record_of(repository, connection.manifest) is None else None


def _wanted(
    repository: Repository, connection: Connection, text: str | None, crew: Crew
) -> tuple[str, Tree]:
    if text is None:
        now = content_of(repository, connection.manifest, connection.state())
        tree = None if now is None else repository.find_tree(now.tree)
        if now is not None and tree is not None:
            return as_of_now(repository, now.revision, now.tree), tree
        earlier = _earlier(repository, connection)
        tree = None if now is not None or earlier is None else repository.find_tree(earlier.tree)
        if earlier is not None and tree is not None:
            return as_of_now(repository, earlier.revision, earlier.tree), tree
    with repository.lock():
        recover(repository)
        revision = resolve(repository, text or "HEAD")
        config, formula = revision.state.config, revision.formula
        builds = Builds(repository, config, crew, allow_nonfinite=True)
        built = builds.find(formula) or builds.build(formula)
        return revision.label, repository.store.tree(built.tree)
