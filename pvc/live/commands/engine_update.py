"""The update of an engine, from whatever it holds; nothing that would be lost is overwritten."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pvc.live.client.model_check import check_model
from pvc.live.client.reading import content
from pvc.live.client.updating import DriftedEngineError, UpdateGoal, update
from pvc.live.commands.commit_source import MAX_REVISION
from pvc.live.commands.engine_content import (
    UnknownWeightsError,
    content_of,
    fits,
    identity,
    is_foreign,
    is_moved,
    kept_tree,
    nearest,
    new_record,
)
from pvc.live.protocol.engine_state import OtherRepositoryError, Phase
from pvc.repo.personality.formula import Built
from pvc.weights.apart import completed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.live.client.connection import Connection
    from pvc.live.client.updating import Updated
    from pvc.live.protocol.engine_state import EngineState
    from pvc.parallel import Crew
    from pvc.repo.build.builds import Builds
    from pvc.repo.commands.checkout import Rescue
    from pvc.repo.personality.config import Config
    from pvc.repo.personality.personality_file import Term
    from pvc.repo.repository import Repository
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tree


@dataclass(frozen=True, slots=True)
class EngineGoal:
    """The weights that an engine is to get.

    Attributes:
        built: tree and layout.
        label: what they are: a branch, tag, commit, vector or expression.
        terms: the terms of that personality, or None where it is not known.
        store: makes sure that their blocks are stored.
    """

    built: Built
    label: str
    terms: tuple[Term, ...] | None
    store: Callable[[], object]


@dataclass(frozen=True)
class EngineUpdate:
    """An update under way; the repository is locked.

    Attributes:
        repository: where.
        config: names the base.
        builds: the trees of that base.
        blocks: gives their blocks.
        crew: threads and progress.
        connection: to the engine.
        goal: what it gets.
        force: keep what would be lost, and then overwrite it; also what another repository wrote.
    """

    repository: Repository
    config: Config
    builds: Builds
    blocks: Blocks
    crew: Crew

    connection: Connection
    goal: EngineGoal
    force: bool

    def run(self) -> tuple[Updated, Rescue | None]:
        """Bring the engine to the tree of the goal; the record of it is saved.

        Raises:
            OtherModelError: the engine runs another model.
            OtherRepositoryError: another repository wrote to it.
            DriftedEngineError, UnknownWeightsError: what it holds would be lost.
            RefusedError: it refuses; its weights changed meanwhile, for example.
            UnreachableError: it has ended, or does not answer.
        """
        repository = self.repository
        check_model(self.connection.manifest, self._tree)
        state = self.connection.state()
        self._check_repository(state)
        believed = content_of(repository, self.connection.manifest, state)
        drift: DriftedEngineError | None = None
        tree = None if believed is None or state.phase is not Phase.STEADY else believed.tree
        if tree is not None and self.builds.can_restore(tree):
            try:
                return self._update(repository.store.tree(tree)), None
            except DriftedEngineError as error:
                drift = error
        before, rescued = self._content(drift)
        return self._update(before), rescued

    @cached_property
    def _tree(self) -> Tree:
        return self.repository.store.tree(self.goal.built.tree)

    def _check_repository(self, state: EngineState) -> None:
        repository, origin = self.repository, state.origin
        if (
            origin is not None
            and is_foreign(repository, self.connection.manifest, state)
            and not self.force
        ):
            raise OtherRepositoryError(origin.repository, identity(repository))

    def _content(self, drift: DriftedEngineError | None) -> tuple[Tree, Rescue | None]:
        """What the engine holds, once it is certain that this may be overwritten."""
        repository, crew = self.repository, self.crew
        found, state = content(self.connection, crew, self._tree)
        unloaded = self.connection.manifest.unloaded
        if state.phase is not Phase.STEADY:  # its weights are of no tree, and nothing is lost
            base = repository.store.tree(self.config.base_tree)
            return completed(found, base, unloaded), None
        known = kept_tree(repository, found, unloaded)
        if known is not None:
            return known, None
        if not self.force:
            raise drift or self._unknown(found)
        from pvc.live.commands.commit_source import OpenEngine
        from pvc.live.commands.rescue import rescue

        kept = rescue(repository, OpenEngine(repository, self.connection, self._like()), crew)
        return repository.store.tree(kept.tree), kept

    def _like(self) -> Built:
        """The form of what is rescued: the base's, or the goal's if the engine has that."""
        repository, config = self.repository, self.config
        if fits(repository, self.connection.manifest, config.base_tree):
            return Built(config.base_tree, config.base_layout)
        return self.goal.built

    def _unknown(self, found: Tree) -> UnknownWeightsError:
        repository, config = self.repository, self.config
        candidates = {"the base": repository.store.tree(config.base_tree)}
        head = self.builds.tree_of(repository.head().formula)
        tree = None if head is None else repository.find_tree(head)
        if tree is not None:
            candidates["HEAD"] = tree
        return UnknownWeightsError(self.connection.name, *nearest(candidates, found))

    def _update(self, before: Tree) -> Updated:
        repository, connection, goal = self.repository, self.connection, self.goal
        if before != self._tree:
            goal.store()
        wanted = UpdateGoal(
            self._tree, identity(repository), goal.label[:MAX_REVISION],
            take=self.force or is_moved(repository, connection.state()),
        )  # fmt: skip
        done = update(connection, before, wanted, self.blocks.read, self.crew)
        built = goal.built.tree, goal.built.layout
        repository.engines.save(
            new_record(repository, connection.manifest, done.state, built, (goal.label, goal.terms))
        )
        return done
