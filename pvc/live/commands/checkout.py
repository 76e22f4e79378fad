"""Checkout: a revision's weights go into an engine, then HEAD moves.

The engine is written first, and has verified what it holds before HEAD moves.  Who dies in between
leaves the engine with the one tree or the other, and the engine says which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
from pvc.repo.build.builds import Builds
from pvc.repo.commands.checkout_step import step_of

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection
    from pvc.live.client.updating import Updated
    from pvc.live.commands.rescue import Rescue
    from pvc.live.protocol.engine_state import EngineState
    from pvc.parallel import Crew
    from pvc.repo.commands.checkout_step import CheckoutStep
    from pvc.repo.history.revision import Revision
    from pvc.repo.personality.formula import Built
    from pvc.repo.repository import Repository
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tree


@dataclass(frozen=True, slots=True)
class EngineCheckedOut:
    """What a checkout into an engine did.

    Attributes:
        revision: what was asked for.
        built: its tree and layout.
        engine: name of the engine.
        written_bytes: bytes of the blocks that differed.
        paused_seconds: for how long steps had to wait.
        rescue: what the engine held before, if that had to be kept.
        head_moved: whether HEAD stands somewhere else now.
        unread: how many tensors the engine keeps in another form, so that they cannot be verified.
    """

    revision: Revision
    built: Built
    engine: str
    written_bytes: int
    paused_seconds: float
    rescue: Rescue | None
    head_moved: bool
    unread: int


@dataclass(frozen=True, slots=True)
class EngineCheckout:
    """What is to be checked out.

    Attributes:
        text: a revision, a vector, an expression or the base; HEAD moves for a revision only.
        keep_head: leave HEAD where it is.
        force: overwrite what the repository could not give back, after keeping it; also what
            another repository wrote.
    """

    text: str
    keep_head: bool = False
    force: bool = False


def checkout(
    repository: Repository, request: EngineCheckout, connection: Connection, crew: Crew
) -> EngineCheckedOut:
    """Check a revision out into an engine.

    Args:
        repository: where.
        request: what.
        connection: to the engine.
        crew: who does the work.

    Raises:
        OtherModelError: the engine runs another model.
        OtherRepositoryError: another repository wrote to it.
        DriftedEngineError, UnknownWeightsError: what it holds would be lost.
        RefusedError: it refuses; its weights changed meanwhile, for example.
        UnreachableError: it has ended, or does not answer.
        EditedError, BlockedMoveError: HEAD would move away from edits.
    """
    with (
        step_of(repository, request.text, keep_head=request.keep_head) as step,
        repository.blocks(step.config) as blocks,
    ):
        step.identify(crew)
        switch = _Switch(step, connection, blocks, crew, request.force)
        step.journalled(switch.write)
        done = switch.done[0]
        return EngineCheckedOut(
            revision=step.revision,
            built=step.built,
            engine=connection.name,
            written_bytes=done.nbytes,
            paused_seconds=done.state.paused / 1e6,
            rescue=switch.rescue,
            head_moved=step.moves,
            unread=len(connection.manifest.indirect),
        )


@dataclass(slots=True)
class _Switch:
    """Writing to the engine."""

    step: CheckoutStep
    connection: Connection
    blocks: Blocks
    crew: Crew
    force: bool
    rescue: Rescue | None = None
    done: list[Updated] = field(default_factory=list)

    def write(self) -> None:
        """Bring the engine to the new tree, from whatever it holds."""
        self.step.begin(None)
        repository = self.step.repository
        check_model(self.connection.manifest, self._goal)
        state = self.connection.state()
        self._check_repository(state)
        believed = content_of(repository, self.connection.manifest, state)
        drift: DriftedEngineError | None = None
        tree = None if believed is None or state.phase is not Phase.STEADY else believed.tree
        if tree is not None and Builds(repository, self.step.config).can_restore(tree):
            try:
                self._update(repository.store.tree(tree))
            except DriftedEngineError as error:
                drift = error
            else:
                return
        self._update(self._content(drift))

    @property
    def _goal(self) -> Tree:
        return self.step.repository.store.tree(self.step.built.tree)

    def _check_repository(self, state: EngineState) -> None:
        repository, origin = self.step.repository, state.origin
        if origin is not None and is_foreign(repository, state) and not self.force:
            raise OtherRepositoryError(origin.repository, identity(repository))

    def _content(self, drift: DriftedEngineError | None) -> Tree:
        """What the engine holds, once it is certain that this may be overwritten."""
        repository = self.step.repository
        found, state = content(self.connection, self.crew, self._goal)
        if state.phase is not Phase.STEADY or is_kept(repository, found.id):
            return found
        if not self.force:
            raise drift or self._unknown(found)
        from pvc.live.commands.commit_source import EngineSource
        from pvc.live.commands.rescue import rescue

        result = EngineSource(repository, self.connection, self.step.built)
        self.rescue = rescue(repository, result, self.crew)
        return repository.store.tree(self.rescue.tree)

    def _unknown(self, found: Tree) -> UnknownWeightsError:
        repository, config = self.step.repository, self.step.config
        candidates = {"the base": repository.store.tree(config.base_tree)}
        head = Builds(repository, config).tree_of(repository.head().formula)
        tree = None if head is None else repository.find_tree(head)
        if tree is not None:
            candidates["HEAD"] = tree
        return UnknownWeightsError(self.connection.name, *nearest(candidates, found))

    def _update(self, before: Tree) -> None:
        step, connection = self.step, self.connection
        if before != self._goal:
            step.build(self.crew)
        text = step.revision.text[:MAX_REVISION]
        goal = UpdateGoal(self._goal, identity(step.repository), text, take=self.force)
        done = update(connection, before, goal, self.blocks.read, self.crew)
        built = step.built.tree, step.built.layout
        terms = step.revision.terms
        record = new_record(connection.manifest, done.state, built, step.revision.text, terms)
        step.repository.engines.save(record)
        self.done.append(done)
