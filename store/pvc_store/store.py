"""What every store does, as protocols.

A store keeps three sorts of objects: encoded blocks by block key, trees and layouts by object id.
It is read at any time; it is written inside `writing()`, whose objects become visible and durable
together at its end, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from pvc_store.block import BlockForm, EncodedBlock
    from pvc_store.layout import Layout
    from pvc_store.tree import Tree


@dataclass(frozen=True, slots=True)
class Damage:
    """A fault that `verify` found.

    Attributes:
        what: sort of object: "pack", "block", "tree", "layout".
        name: its id, key or file name.
        detail: one sentence.
    """

    what: str
    name: str
    detail: str


class StoreReader(Protocol):
    """The reading half of a store; safe for several threads."""

    def has(self, key: bytes) -> bool:
        """Whether the store has the block."""
        ...

    def form(self, key: bytes) -> BlockForm:
        """How the block is coded, without reading its payload.

        Raises:
            MissingError: the store does not have it.
        """
        ...

    def get(self, key: bytes) -> EncodedBlock:
        """The encoded block; its payload is checked, and valid until this thread's next `get`.

        Raises:
            MissingError: the store does not have it.
            DamageError: the payload is not what was stored.
        """
        ...


class StoreWriter(StoreReader, Protocol):
    """A running change to a store; sees its own blocks."""

    @property
    def stored_bytes(self) -> int:
        """Payload bytes that this change adds."""
        ...

    def put(self, block: EncodedBlock) -> bool:
        """Add a block; False if there is one of its key, which then stays.

        The payload is copied before the call returns.

        Raises:
            EntryError: form and payload contradict each other.
        """
        ...

    def put_tree(self, tree: Tree, base: Tree | None = None) -> bytes:
        """Add a tree and return its id.

        Only what differs from `base` is stored, if `base` is stored whole, here or in this change.
        """
        ...

    def put_layout(self, layout: Layout) -> bytes:
        """Add a layout and return its id."""
        ...


class Store(StoreReader, Protocol):
    """An object store."""

    def writing(self) -> AbstractContextManager[StoreWriter]:
        """A change: kept when the block ends, dropped when it raises.

        Threads that put objects must have ended when the block does.
        """
        ...

    def forms(self) -> Iterator[BlockForm]:
        """How each block is coded, in the order of the keys."""
        ...

    def tree(self, tree_id: bytes) -> Tree:
        """The tree of an id.

        Raises:
            MissingError: the store does not have it.
            DamageError: it is not what its name says.
        """
        ...

    def layout(self, layout_id: bytes) -> Layout:
        """The layout of an id; raises as `tree`."""
        ...

    def tree_ids(self) -> Iterable[bytes]:
        """Ids of all trees, sorted."""
        ...

    def layout_ids(self) -> Iterable[bytes]:
        """Ids of all layouts, sorted."""
        ...

    def verify(self, advance: Callable[[int], None] = ...) -> Iterator[Damage]:
        """Check every stored byte against names and check values.

        Args:
            advance: called with the number of bytes of each read.
        """
        ...
