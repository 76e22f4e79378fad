"""Checkout into an engine, which verifies what it holds before HEAD moves.

A client that is killed in between leaves the engine with the one tree or the other, and the engine
says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.live.commands.engine_update import EngineGoal, EngineUpdate
from pvc.repo.commands.checkout import CheckedOut

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection
    from pvc.repo.commands.checkout_transaction import CheckoutTransaction
    from pvc.repo.personality.formula import Built


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
        """Bring the engine to the new tree, from whatever it holds; raises as `EngineUpdate`."""
        connection, repository = self.connection, transaction.repository
        with repository.blocks(transaction.config) as blocks:
            built, revision = transaction.find(), transaction.revision
            goal = EngineGoal(built, revision.label, revision.terms, transaction.build)
            work = EngineUpdate(
                repository, transaction.config, transaction.builds, blocks, transaction.crew,
                connection, goal, self.force,
            )  # fmt: skip
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
            unloaded=self._without_effect(transaction, built),
        )

    def _without_effect(self, transaction: CheckoutTransaction, built: Built) -> tuple[str, ...]:
        """Tensors that the engine does not load, and that are not the base's."""
        store = transaction.repository.store
        tree, base = store.tree(built.tree), store.tree(transaction.config.base_tree)
        manifest = self.connection.manifest
        loaded = {one.digest for name, one in tree.items() if name in manifest.tensors}
        return tuple(
            name
            for name in manifest.unloaded
            if name in tree
            and tree[name].digest not in loaded  # as an output head that is the embedding
            and (name not in base or tree[name].digest != base[name].digest)
        )
