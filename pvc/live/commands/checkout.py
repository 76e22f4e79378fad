"""Checkout into an engine, which verifies what it holds before HEAD moves.

A client that is killed in between leaves the engine with the one tree or the other, and the engine
says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.live.client.reading import check_model, content
from pvc.live.client.updating import DriftedEngineError, UpdateGoal, update
from pvc.live.commands.commit_source import MAX_REVISION
from pvc.live.commands.engine_content import (
    UnknownWeightsError,
    content_of,
    identity,
    is_foreign,
    is_kept,
    nearest,
    new_record,
)
from pvc.live.protocol.engine_state import OtherRepositoryError, Phase
from pvc.repo.commands.checkout import CheckedOut
from pvc.weights.apart import with_apart

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection
    from pvc.live.client.updating import Updated
    from pvc.live.protocol.engine_state import EngineState
    from pvc.repo.commands.checkout import Rescue
    from pvc.repo.commands.checkout_transaction import CheckoutTransaction
    from pvc.repo.personality.formula import Built
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tree


@dataclass(frozen=True, slots=True)
class EngineTarget:
    """An engine that weights are checked out to.

    Attributes:
        connection: to the engine.
        force: overwrite what the repository could not give back, after keeping it; also what
            another repository wrote.
    """

    connection: Connection
    force: bool = False

    def write(self, transaction: CheckoutTransaction) -> CheckedOut:
        """Bring the engine to the new tree, from whatever it holds.

        Raises:
            OtherModelError: the engine runs another model.
            OtherRepositoryError: another repository wrote to it.
            DriftedEngineError, UnknownWeightsError: what it holds would be lost.
            RefusedError: it refuses; its weights changed meanwhile, for example.
            UnreachableError: it has ended, or does not answer.
        """
        connection = self.connection
        with transaction.repository.blocks(transaction.config) as blocks:
            built = transaction.find()
            goal = transaction.repository.store.tree(built.tree)
            work = _EngineUpdate(transaction, built, goal, connection, blocks, self.force)
            with transaction.begin():
                done, rescued = work.run()
        return CheckedOut(
            transaction.revision,
            built,
            transaction.moves,
            done.nbytes,
            engine=connection.name,
            paused_seconds=done.state.paused / 1e6,
            unread=len(connection.manifest.indirect),
            rescue=rescued,
        )


@dataclass(frozen=True, slots=True)
class _EngineUpdate:
    """The update of an engine to a tree, from whatever it holds."""

    transaction: CheckoutTransaction
    built: Built
    goal: Tree
    connection: Connection
    blocks: Blocks
    force: bool

    def run(self) -> tuple[Updated, Rescue | None]:
        """Update it; what would be lost is refused, or kept first."""
        repository = self.transaction.repository
        check_model(self.connection.manifest, self.goal)
        state = self.connection.state()
        self._check_repository(state)
        believed = content_of(repository, self.connection.manifest, state)
        drift: DriftedEngineError | None = None
        tree = None if believed is None or state.phase is not Phase.STEADY else believed.tree
        if tree is not None and self.transaction.builds.can_restore(tree):
            try:
                return self._update(repository.store.tree(tree)), None
            except DriftedEngineError as error:
                drift = error
        before, rescued = self._content(drift)
        return self._update(before), rescued

    def _check_repository(self, state: EngineState) -> None:
        repository, origin = self.transaction.repository, state.origin
        if origin is not None and is_foreign(repository, state) and not self.force:
            raise OtherRepositoryError(origin.repository, identity(repository))

    def _content(self, drift: DriftedEngineError | None) -> tuple[Tree, Rescue | None]:
        """What the engine holds, once it is certain that this may be overwritten."""
        repository, crew = self.transaction.repository, self.transaction.crew
        found, state = content(self.connection, crew, self.goal)
        for whole in self._completed(found):
            if state.phase is not Phase.STEADY or is_kept(repository, whole.id):
                return whole, None
        if not self.force:
            raise drift or self._unknown(found)
        from pvc.live.commands.commit_source import OpenEngine
        from pvc.live.commands.rescue import rescue

        kept = rescue(repository, OpenEngine(repository, self.connection, self.built), crew)
        return repository.store.tree(kept.tree), kept

    def _completed(self, found: Tree) -> tuple[Tree, ...]:
        """What an engine holds, with the tensors that none loads: the base's, or the goal's."""
        base = self.transaction.repository.store.tree(self.transaction.config.base_tree)
        return with_apart(found, base), with_apart(found, self.goal)

    def _unknown(self, found: Tree) -> UnknownWeightsError:
        repository, config = self.transaction.repository, self.transaction.config
        candidates = {"the base": repository.store.tree(config.base_tree)}
        head = self.transaction.builds.tree_of(repository.head().formula)
        tree = None if head is None else repository.find_tree(head)
        if tree is not None:
            candidates["HEAD"] = tree
        return UnknownWeightsError(self.connection.name, *nearest(candidates, found))

    def _update(self, before: Tree) -> Updated:
        transaction, connection = self.transaction, self.connection
        repository, revision = transaction.repository, transaction.revision
        if before != self.goal:
            transaction.build()
        text = revision.label[:MAX_REVISION]
        goal = UpdateGoal(self.goal, identity(repository), text, take=self.force)
        done = update(connection, before, goal, self.blocks.read, transaction.crew)
        built = self.built.tree, self.built.layout
        record = new_record(
            repository, connection.manifest, done.state, built, (revision.label, revision.terms)
        )
        repository.engines.save(record)
        return done
