from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pvc_store.block import Codec, EncodedBlock
from pvc_store.memory import MemoryStore
from tests.store.contract import StoreContract
from tests.store.samples import layout, raw_block, tree

if TYPE_CHECKING:
    from pvc_store.store import Store


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

    def seen_elsewhere(self, store: Store) -> Store:
        return store

    def damage_block(self, store: Store, key: bytes) -> None:
        assert isinstance(store, MemoryStore)
        block, check = store.blocks[key]
        payload = bytearray(block.payload)
        payload[10] ^= 1
        store.blocks[key] = (replace(block, payload=bytes(payload)), check)


def test_of_two_changes_the_one_that_ends_first_stays() -> None:
    store, first = MemoryStore(), raw_block(1)
    other = EncodedBlock(replace(first.form, codec=Codec.PLANES), b"other")
    with store.writing() as outer:
        outer.put(other)
        with store.writing() as inner:
            inner.put(first)
    assert store.get(first.form.key) == first


def test_verify_finds_damaged_trees_and_layouts() -> None:
    store = MemoryStore()
    with store.writing() as change:
        change.put_tree(tree("a"))
        change.put_tree(tree("a", "b"), tree("a"))
        change.put_layout(layout())
    del store.trees[tree("a").id]
    store.layouts[layout().id] = layout("other").to_bytes()
    found = {(damage.what, damage.name) for damage in store.verify()}
    assert found == {("tree", tree("a", "b").id.hex()), ("layout", layout().id.hex())}
