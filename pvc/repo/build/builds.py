"""From a formula to a tree: recorded, found among those built before, or built now.

A tree that is computed for a new directory is not stored: the directory has its blocks, and the
formula gives them again.  `keep` stores them before they could be needed from elsewhere.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.build_cache import BuiltTree, BuiltTrees, keys_of
from pvc.repo.personality.formula import Built, Formula
from pvc_store.errors import DamageError, MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from pvc.parallel import Crew
    from pvc.repo.build.compute import Sink
    from pvc.repo.personality.config import Config
    from pvc.repo.repository import Repository
    from pvc.weights.compare import TensorForm
    from pvc_store.layout import Layout
    from pvc_store.tree import Tree

    Drafting: TypeAlias = Callable[[Layout], Sink]


class LayoutMissingError(PvcError):
    """A computed tree does not lie in files as any that it was made from."""

    def __init__(self) -> None:
        super().__init__(
            "The computed weights fit into the files of neither the base nor any vector: "
            "some tensors were added or removed, and others are of another kind."
        )


class OtherTreeComputedError(PvcError):
    """A formula gives another tree than it was computed to before.

    Attributes:
        tree: its id.
        found: id of what was computed now.
    """

    def __init__(self, tree: bytes, found: bytes) -> None:
        self.tree = tree
        self.found = found
        super().__init__(
            f"What was computed to the tree {tree.hex()[:12]} before is {found.hex()[:12]} "
            "when it is computed again."
        )


class UnkeptTreeError(PvcError):
    """A tree is in a directory only: it is not stored, and not known how to compute.

    Attributes:
        tree: its id.
    """

    def __init__(self, tree: bytes) -> None:
        self.tree = tree
        super().__init__(
            f"The tree {tree.hex()[:12]} is not stored, and it is not known how to compute it."
        )


@dataclass(frozen=True, slots=True)
class Realised:
    """A formula, realised.

    Attributes:
        built: tree and layout.
        fresh: whether it was computed now.
    """

    built: Built
    fresh: bool


def known_tree(repository: Repository, what: Formula) -> bytes | None:
    """Tree id of a formula, if nothing need be computed to say it; reads no weights."""
    if what.exact is not None:
        return what.start.tree
    found = BuiltTrees(repository.folder).read(what.digest())
    return None if found is None else found.tree


def known(repository: Repository, config: Config, what: Formula) -> Built | None:
    """A formula's tree and layout, if nothing need be computed to say it."""
    if what.exact is not None:
        return what.exact
    found = known_tree(repository, what)
    tree = None if found is None else _stored(repository, found)
    if tree is None:
        return None
    return Built(tree.id, _layout(repository, config, what, tree))


def check_possible(repository: Repository, what: Formula) -> None:
    """Make sure that a formula can be computed; reads no weights.

    Raises:
        IdentityError: a tensor cannot be computed with.
        MissingError, DamageError: the store lacks a tree.
    """
    store = repository.store
    store.tree(what.start.tree)
    store.layout(what.start.layout)
    if what.exact is not None:
        return
    from pvc.repo.build.tensor_routes import Router

    Router(what, store.tree(what.base), functools.cache(store.tree)).routes()


def identify(repository: Repository, config: Config, what: Formula, crew: Crew) -> Built:
    """A formula's tree and layout; its blocks need not be stored.  Raises as `realise`."""
    return known(repository, config, what) or realise(repository, config, what, crew).built


def realise(
    repository: Repository,
    config: Config,
    what: Formula,
    crew: Crew,
    drafting: Drafting | None = None,
) -> Realised:
    """A formula's tree, with a layout by which it becomes files; stored, unless drafted.

    Args:
        repository: where.
        config: names the base.
        what: the formula.
        crew: who does the work.
        drafting: where computed blocks go instead of the store, if any need be computed.

    Raises:
        IdentityError, LayoutMissingError: it cannot be computed, or not laid out.
        MissingError, DamageError: a block cannot be had.
        OtherTreeComputedError: it was computed to another tree before.
    """
    if what.exact is not None:
        return Realised(what.exact, fresh=False)
    found = known_tree(repository, what)
    tree = None if found is None else _whole(repository, config, found)
    if tree is None:
        return Realised(_compute(repository, config, what, crew, drafting), fresh=True)
    BuiltTrees(repository.folder).touch(what.digest())
    return Realised(Built(tree.id, _layout(repository, config, what, tree)), fresh=False)


def keep(repository: Repository, config: Config, tree: bytes, crew: Crew) -> None:
    """Make sure that the blocks of a tree are stored; a captured one's always are.

    Raises:
        UnkeptTreeError: it is not known how it was computed.
        OtherTreeComputedError: its formula gives another tree now.
        IdentityError, LayoutMissingError, MissingError, DamageError: it cannot be computed again.
    """
    if _whole(repository, config, tree) is not None:
        return
    failed: PvcError = UnkeptTreeError(tree)
    for built in BuiltTrees(repository.folder).of(tree):
        pinned = replace(config, base_tree=built.formula.base)
        try:
            realise(repository, pinned, built.formula, crew)
        except PvcError as error:
            failed = error
        else:
            return
    raise failed


def can_be_had(repository: Repository, config: Config, tree: bytes) -> bool:
    """Whether the blocks of a tree are stored, or all that a formula computes them from."""
    if _whole(repository, config, tree) is not None:
        return True
    ways = BuiltTrees(repository.folder).of(tree)
    return any(_computable(repository, config, built.formula) for built in ways)


def _computable(repository: Repository, config: Config, what: Formula) -> bool:
    pinned = replace(config, base_tree=what.base)
    ends = {tree for link in what.links for tree in (link.from_tree, link.to_tree)}
    return all(_whole(repository, pinned, tree) is not None for tree in {what.start.tree, *ends})


def _layout(
    repository: Repository, config: Config, what: Formula, tree: Mapping[str, TensorForm]
) -> bytes:
    for layout in _layouts(what, config):
        if fits(repository.store.layout(layout), tree):
            return layout
    raise LayoutMissingError


def _stored(repository: Repository, tree: bytes) -> Tree | None:
    try:
        return repository.store.tree(tree)
    except (MissingError, DamageError):
        return None


def _whole(repository: Repository, config: Config, tree_id: bytes) -> Tree | None:
    """A stored tree, unless it or a block of it was lost."""
    store, tree = repository.store, _stored(repository, tree_id)
    base = _stored(repository, config.base_tree)
    if tree is None or base is None:
        return None
    store.refresh()
    return tree if all(map(store.has, keys_of(tree) - keys_of(base))) else None


def _compute(
    repository: Repository, config: Config, what: Formula, crew: Crew, drafting: Drafting | None
) -> Built:
    from pvc.repo.build.compute import Storing, compute
    from pvc.repo.build.tensor_routes import Router
    from pvc.repo.build.ties_facts import TiesFacts
    from pvc.repo.history.contents import blocks_of

    store = repository.store
    base = store.tree(config.base_tree)
    with store.writing() as writing, blocks_of(repository, config, writing) as blocks:
        trees = functools.cache(store.tree)
        routes = Router(what, base, trees).routes()
        forms = {name: route.form for name, route in routes.items() if route.form is not None}
        layout = _layout(repository, config, what, forms)
        trims = TiesFacts(repository.folder, blocks, trees, crew)
        for part in what.parts:
            trims.add(part.operand)
        storing = Storing(blocks, writing)
        sink = storing if drafting is None else drafting(store.layout(layout))
        tree = compute(routes, blocks, sink, trims.taus, crew)
        known = known_tree(repository, what)
        if known not in (None, tree.id):
            raise OtherTreeComputedError(known, tree.id)
        writing.put_tree(tree, base)
    BuiltTrees(repository.folder).write(BuiltTree(what, tree.id, writing.packs))
    return Built(tree.id, layout)


def _layouts(what: Formula, config: Config) -> list[bytes]:
    """Layouts that a formula's tree may have, the likeliest first."""
    return [what.start.layout, config.base_layout, *(link.layout for link in what.links)]


def fits(layout: Layout, tree: Mapping[str, TensorForm]) -> bool:
    """Whether a tree of these tensors can become files by a layout."""
    from pathlib import Path

    from pvc.weights.header import placements

    places = {
        place.name: (place.kind, place.shape)
        for file in layout.weights
        for place in placements(file.header, file.path, Path(file.path))
    }
    return places == {name: (form.kind, form.shape) for name, form in tree.items()}
