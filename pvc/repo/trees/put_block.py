"""Putting a block into the store, unless it is there: then it is compared with the stored one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.codec import encode, same
from pvc.errors import PvcError

if TYPE_CHECKING:
    from pvc.repo.trees.blocks import Blocks
    from pvc.repo.trees.changes import RawBlock
    from pvc_store.store import StoreWriter


class CollisionError(PvcError):
    """Two different blocks have one key.

    Attributes:
        key: the key in hexadecimal.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"A block differs from the stored block of the same key {key}.")


def put_block(
    block: RawBlock, place: tuple[str, int] | None, blocks: Blocks, writing: StoreWriter
) -> None:
    """Store a block as its difference from the base's block at the same place.

    A block that the base has elsewhere is the base's: if it were coded against another block of
    the base, it could not be the base of others.

    Args:
        block: the block.
        place: name of its tensor, and which block of it it is; None for files without tensors.
        blocks: raw blocks of stored trees.
        writing: where it goes.

    Raises:
        CollisionError: the store has another block of this key.
        MissingError, DamageError: a block that it is coded against or compared with is broken.
    """
    if not (writing.has(block.key) or blocks.in_base(block.key)):
        base = None if place is None else blocks.against(place[0], block.kind, place[1])
        if writing.put(encode(block.raw, block.kind, base)):
            return
    stored = blocks.buffer("stored", len(block.raw))
    blocks.read_key(block.key, stored, *(place or ("", 0)))
    if not same(block.raw, stored):
        raise CollisionError(block.key.hex())
