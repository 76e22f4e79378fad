"""What every store promises.  A backend's test derives from `StoreContract` and makes a store."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc_store.block import BLOCK_BYTES, BlockForm, Codec, EncodedBlock, EntryError
from pvc_store.errors import DamageError, MissingError
from pvc_store.ids import NO_ID, block_key
from pvc_store.layout import Layout
from pvc_store.tree import Tree, TreeIdError
from tests.store.samples import (
    BF16,
    delta_block,
    layout,
    planes_block,
    raw_block,
    raw_bytes,
    tensor,
    tree,
)

if TYPE_CHECKING:
    from typing import TypeAlias

    from typing_extensions import Buffer

    from pvc_store.files import FileStore
    from pvc_store.memory import MemoryStore
    from pvc_store.objects import StoredObjects

    AnyStore: TypeAlias = FileStore | MemoryStore

NO_KEY = bytes(16)


class StopError(Exception):
    """Raised by a test in the middle of a change."""


def rewrite(store: AnyStore, objects: StoredObjects, name: bytes, data: Buffer) -> None:
    """Replace the bytes of an object."""
    store.backend.put(objects.name(name), data)


def flip(store: AnyStore, objects: StoredObjects, name: bytes, at: int) -> None:
    """Change one stored bit of an object."""
    data = bytearray(objects.get(name))
    data[at] ^= 1
    rewrite(store, objects, name, data)


class StoreContract:
    """Tests of any store.

    A subclass overrides the fixture `store`, which gives an empty store, and the hook.
    """

    @pytest.fixture
    def store(self) -> AnyStore:
        raise NotImplementedError

    def seen_elsewhere(self, store: AnyStore) -> AnyStore:
        """The store as another process, or a later one, finds it."""
        raise NotImplementedError

    # Blocks

    def test_a_new_store_is_empty(self, store: AnyStore) -> None:
        assert not store.has(raw_block(1).form.key)
        assert list(store.forms()) == []
        assert list(store.tree_ids()) == []
        assert list(store.layout_ids()) == []
        assert list(store.verify()) == []

    def test_a_block_comes_back_as_it_was_put(self, store: AnyStore) -> None:
        base = raw_block(1)
        blocks = [base, planes_block(2), delta_block(3, base), raw_block(4, BLOCK_BYTES)]
        with store.writing() as change:
            assert [change.put(block) for block in blocks] == [True] * 4
        for seen in (store, self.seen_elsewhere(store)):
            for block in blocks:
                assert seen.has(block.form.key)
                assert seen.form(block.form.key) == block.form
                got = seen.get(block.form.key)
                assert got.form == block.form
                assert bytes(got.payload) == bytes(block.payload)

    def test_the_smallest_block_has_one_byte(self, store: AnyStore) -> None:
        block = raw_block(1, 1)
        with store.writing() as change:
            change.put(block)
        assert bytes(self.seen_elsewhere(store).get(block.form.key).payload) == block.payload

    def test_a_payload_may_be_any_buffer_and_is_copied(self, store: AnyStore) -> None:
        numbers = np.frombuffer(raw_bytes(1, 1000), np.float64).copy()
        raw = numbers.tobytes()
        form = BlockForm(block_key(raw), 1000, Codec.RAW, BF16)
        with store.writing() as change:
            change.put(EncodedBlock(form, numbers.data))
            numbers[:] = 0
            assert change.stored_bytes == 1000
            assert bytes(change.get(form.key).payload) == raw
        assert bytes(store.get(form.key).payload) == raw

    def test_a_block_can_be_put_as_it_was_got(self, store: AnyStore) -> None:
        block = raw_block(1)
        with store.writing() as change:
            change.put(block)
        with store.writing() as change:
            assert change.put(store.get(block.form.key)) is False
        assert bytes(store.get(block.form.key).payload) == block.payload

    def test_the_first_block_of_a_key_stays(self, store: AnyStore) -> None:
        first = raw_block(1)
        form = BlockForm(first.form.key, 1000, Codec.PLANES, BF16)
        second = EncodedBlock(form, raw_bytes(2, 400))
        with store.writing() as change:
            assert change.put(first) is True
            assert change.put(second) is False
            assert change.stored_bytes == 1000
        with store.writing() as change:
            assert change.put(second) is False
            assert change.stored_bytes == 0
        assert self.seen_elsewhere(store).get(first.form.key).form == first.form

    def test_a_change_sees_its_own_blocks_and_those_before(self, store: AnyStore) -> None:
        before, own, absent = raw_block(1), raw_block(2), raw_block(3)
        with store.writing() as change:
            change.put(before)
        with store.writing() as change:
            change.put(own)
            for block in (before, own):
                assert change.has(block.form.key)
                assert change.form(block.form.key) == block.form
                assert bytes(change.get(block.form.key).payload) == block.payload
            assert not change.has(absent.form.key)
            with pytest.raises(MissingError):
                change.form(absent.form.key)
            with pytest.raises(MissingError):
                change.get(absent.form.key)

    def test_nothing_is_visible_before_the_end(self, store: AnyStore) -> None:
        block, weights, files = raw_block(1), tree("a"), layout()
        with store.writing() as change:
            change.put(block)
            change.put_tree(weights)
            change.put_layout(files)
            for seen in (store, self.seen_elsewhere(store)):
                assert not seen.has(block.form.key)
                assert list(seen.tree_ids()) == []
                assert list(seen.layout_ids()) == []

    def test_nothing_is_left_of_a_change_that_raises(self, store: AnyStore) -> None:
        block, weights, files = raw_block(1), tree("a"), layout()

        def fail() -> None:
            with store.writing() as change:
                change.put(block)
                change.put_tree(weights)
                change.put_layout(files)
                raise StopError

        with pytest.raises(StopError):
            fail()
        for seen in (store, self.seen_elsewhere(store)):
            assert list(seen.forms()) == []
            with pytest.raises(MissingError):
                seen.get(block.form.key)
            with pytest.raises(MissingError):
                seen.tree(weights.id)
            with pytest.raises(MissingError):
                seen.layout(files.id)
            assert list(seen.verify()) == []

    def test_a_missing_object_says_what_and_which(self, store: AnyStore) -> None:
        with pytest.raises(MissingError) as caught:
            store.get(NO_KEY)
        assert (caught.value.what, caught.value.name) == ("block", NO_KEY.hex())
        assert str(caught.value) == f"The store has no block {NO_KEY.hex()}."
        with pytest.raises(MissingError):
            store.form(NO_KEY)
        with pytest.raises(MissingError) as caught:
            store.tree(NO_ID)
        assert (caught.value.what, caught.value.name) == ("tree", NO_ID.hex())
        with pytest.raises(MissingError) as caught:
            store.layout(NO_ID)
        assert (caught.value.what, caught.value.name) == ("layout", NO_ID.hex())

    def test_forms_come_in_the_order_of_the_keys(self, store: AnyStore) -> None:
        base = raw_block(0)
        blocks = [base, *(raw_block(seed) for seed in range(1, 20)), delta_block(99, base)]
        for part in (blocks[::2], blocks[1::2]):
            with store.writing() as change:
                for block in part:
                    change.put(block)
        expected = sorted((block.form for block in blocks), key=lambda form: form.key)
        assert list(store.forms()) == expected
        assert list(self.seen_elsewhere(store).forms()) == expected

    @pytest.mark.parametrize(
        ("form", "length"),
        [
            (BlockForm(NO_KEY, 1000, Codec.RAW, BF16), 999),
            (BlockForm(NO_KEY, 1000, Codec.PLANES, BF16), 1001),
            (BlockForm(NO_KEY, 1000, Codec.PLANES, BF16), 0),
            (BlockForm(NO_KEY, BLOCK_BYTES + 1, Codec.PLANES, BF16), 10),
            (BlockForm(NO_KEY, 1000, Codec.DELTA, BF16), 10),
            (BlockForm(NO_KEY[1:], 1000, Codec.PLANES, BF16), 10),
        ],
    )
    def test_an_impossible_block_is_refused_and_does_no_harm(
        self, store: AnyStore, form: BlockForm, length: int
    ) -> None:
        good = raw_block(1)
        with store.writing() as change:
            with pytest.raises(EntryError):
                change.put(EncodedBlock(form, bytes(length)))
            assert not change.has(form.key)
            change.put(good)
        assert [each.key for each in self.seen_elsewhere(store).forms()] == [good.form.key]

    def test_a_change_with_only_a_refused_block_leaves_nothing(self, store: AnyStore) -> None:
        with store.writing() as change, pytest.raises(EntryError):
            change.put(EncodedBlock(BlockForm(NO_KEY, 0, Codec.RAW, BF16), b""))
        assert list(self.seen_elsewhere(store).forms()) == []
        assert list(store.verify()) == []

    def test_threads_may_put_the_same_and_different_blocks(self, store: AnyStore) -> None:
        blocks = [raw_block(seed) for seed in range(40)]
        stored: list[bytes] = []
        failures: list[BaseException] = []
        with store.writing() as change:

            def work(start: int) -> None:
                try:
                    for at in range(len(blocks)):
                        block = blocks[(start + at) % len(blocks)]
                        if change.put(block):
                            stored.append(block.form.key)
                        got = change.get(block.form.key)
                        assert bytes(got.payload) == block.payload
                except BaseException as error:
                    failures.append(error)
                    raise

            threads = [threading.Thread(target=work, args=(10 * at,)) for at in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures
            assert sorted(stored) == sorted(block.form.key for block in blocks)
            assert change.stored_bytes == 1000 * len(blocks)
        seen = self.seen_elsewhere(store)
        for block in blocks:
            assert bytes(seen.get(block.form.key).payload) == block.payload

    def test_two_changes_at_once_are_both_kept(self, store: AnyStore) -> None:
        mine, yours, both = raw_block(1), raw_block(2), raw_block(3)
        with store.writing() as one, store.writing() as other:
            one.put(mine)
            one.put(both)
            other.put(yours)
            other.put(both)
        seen = self.seen_elsewhere(store)
        for block in (mine, yours, both):
            assert bytes(seen.get(block.form.key).payload) == block.payload
        assert len(list(seen.forms())) == 3

    def test_of_two_changes_with_the_same_block_one_is_found(self, store: AnyStore) -> None:
        block = raw_block(1)
        form = BlockForm(block.form.key, 1000, Codec.PLANES, BF16)
        other = EncodedBlock(form, raw_bytes(2, 400))
        with store.writing() as outer:
            outer.put(other)
            with store.writing() as inner:
                inner.put(block)
        for seen in (store, self.seen_elsewhere(store)):
            got = seen.get(block.form.key)
            expected = {each.form: each.payload for each in (block, other)}
            assert bytes(got.payload) == expected[got.form]
            assert list(seen.forms()) == [got.form]
            assert list(seen.verify()) == []

    # Trees and layouts

    def test_a_tree_comes_back_whole_and_against_a_base(self, store: AnyStore) -> None:
        base = tree("a", "b", "c")
        changed = Tree([base["a"], tensor("b", 77), tensor("d", 78, ())])
        with store.writing() as change:
            assert change.put_tree(base) == base.id
            assert change.put_tree(changed, base) == changed.id
        for seen in (store, self.seen_elsewhere(store)):
            assert dict(seen.tree(base.id)) == dict(base)
            assert dict(seen.tree(changed.id)) == dict(changed)
            assert list(seen.tree_ids()) == sorted([base.id, changed.id])

    def test_a_tree_is_readable_whatever_base_it_was_put_against(self, store: AnyStore) -> None:
        base, child = tree("a", "b", seed=1), tree("a", "b", seed=2)
        grandchild, orphan = tree("a", "b", seed=3), tree("a", "b", seed=4)
        with store.writing() as change:
            change.put_tree(child, base)
            change.put_tree(base)
            change.put_tree(child)
            change.put_tree(grandchild, child)
            change.put_tree(orphan, tree("nowhere"))
            change.put_tree(tree("self"), tree("self"))
        with store.writing() as change:
            change.put_tree(child)
            change.put_tree(tree("later"), child)
        seen = self.seen_elsewhere(store)
        for expected in (base, child, grandchild, orphan, tree("later"), tree("self")):
            assert seen.tree(expected.id) == expected
        assert list(seen.verify()) == []

    def test_a_tree_that_others_are_stored_against_stays_whole(self, store: AnyStore) -> None:
        base, middle, top = tree("a", "b"), tree("a", "c"), tree("a", "d")
        with store.writing() as change:
            change.put_tree(base)
            change.put_tree(middle)
            change.put_tree(top, middle)
        with store.writing() as change:
            change.put_tree(middle, base)
        assert self.seen_elsewhere(store).tree(top.id) == top

    def test_the_empty_tree_and_layout_can_be_stored(self, store: AnyStore) -> None:
        with store.writing() as change:
            change.put_tree(Tree([]))
            change.put_layout(Layout([]))
        assert len(store.tree(Tree([]).id)) == 0
        assert store.layout(Layout([]).id).files == ()

    def test_a_layout_comes_back(self, store: AnyStore) -> None:
        first, second = layout("{}"), layout('{"a":1}')
        with store.writing() as change:
            assert change.put_layout(first) == first.id
            change.put_layout(second)
        with store.writing() as change:
            assert change.put_layout(first) == first.id
        for seen in (store, self.seen_elsewhere(store)):
            assert seen.layout(first.id).files == first.files
            assert seen.layout(second.id).files == second.files
            assert list(seen.layout_ids()) == sorted([first.id, second.id])

    # Verification

    def test_verify_finds_nothing_wrong_with_a_sound_store(self, store: AnyStore) -> None:
        base = raw_block(1)
        with store.writing() as change:
            change.put(base)
            change.put(delta_block(2, base))
            change.put_tree(tree("a"))
            change.put_tree(tree("a", "b"), tree("a"))
            change.put_layout(layout())
        read: list[int] = []
        assert list(store.verify(read.append)) == []
        assert sum(read) >= 1300

    def test_verify_finds_a_damaged_block_and_get_refuses_it(self, store: AnyStore) -> None:
        good, bad = raw_block(1), raw_block(2)
        with store.writing() as change:
            change.put(good)
            change.put(bad)
        found = store.index().find(bad.form.key)
        assert found is not None
        flip(store, store.packs, found[0], found[1].offset + 10)
        seen = self.seen_elsewhere(store)
        with pytest.raises(DamageError):
            seen.get(bad.form.key)
        assert bytes(seen.get(good.form.key).payload) == good.payload
        assert ("block", bad.form.key.hex()) in {(each.what, each.name) for each in seen.verify()}

    def test_verify_finds_a_block_whose_base_has_a_base(self, store: AnyStore) -> None:
        base = raw_block(1)
        middle = delta_block(2, base)
        top = delta_block(3, middle)
        with store.writing() as change:
            for block in (base, middle, top):
                change.put(block)
        (damage,) = store.verify()
        assert (damage.what, damage.name) == ("block", top.form.key.hex())
        assert middle.form.key.hex() in damage.detail

    def test_verify_reads_every_byte_of_every_pack(self, store: AnyStore) -> None:
        for seeds in ((1, 2), (3,)):
            with store.writing() as change:
                for seed in seeds:
                    change.put(raw_block(seed))
        read: list[int] = []
        assert list(store.verify(read.append)) == []
        assert sum(read) == sum(map(store.pack_size, store.packs.ids())) == store.stored_size()

    def test_verify_finds_damaged_trees_and_layouts(self, store: AnyStore) -> None:
        with store.writing() as change:
            for name in "abc":
                change.put_tree(tree(name))
            change.put_tree(tree("c", "d"), tree("c"))
            change.put_layout(layout("1"))
            change.put_layout(layout("2"))
        flip(store, store.trees, tree("a").id, 60)
        rewrite(store, store.trees, tree("b").id, tree("x").to_bytes())
        store.trees.delete([tree("c").id])
        rewrite(store, store.layouts, layout("1").id, b"")
        found = {(damage.what, damage.name) for damage in store.verify()}
        assert found == {
            ("tree", tree("a").id.hex()),
            ("tree", tree("b").id.hex()),
            ("tree", tree("c", "d").id.hex()),
            ("layout", layout("1").id.hex()),
        }
        with pytest.raises(TreeIdError, match=tree("x").id.hex()):
            store.tree(tree("b").id)
        with pytest.raises(DamageError):
            store.layout(layout("1").id)

    def test_a_damaged_base_tree_is_not_built_upon(self, store: AnyStore) -> None:
        base, child = tree("a", "b"), tree("a", "c")
        with store.writing() as change:
            change.put_tree(base)
        flip(store, store.trees, base.id, 60)
        with store.writing() as change:
            change.put_tree(child, base)
        assert store.tree(child.id) == child

    # Removal

    def test_what_is_removed_is_gone_and_nothing_else(self, store: AnyStore) -> None:
        for seed, name in ((1, "a"), (2, "b")):
            with store.writing() as change:
                change.put(raw_block(seed))
                change.put_tree(tree(name))
        store.tree(tree("a").id)
        found = store.index().find(raw_block(1).form.key)
        assert found is not None
        pack = found[0]
        assert store.keys_in([pack, NO_ID]) == {pack: {raw_block(1).form.key}}
        for _ in range(2):  # what is gone already is passed over
            store.remove([tree("a").id], [pack])
            for seen in (store, self.seen_elsewhere(store)):
                assert [form.key for form in seen.forms()] == [raw_block(2).form.key]
                assert seen.tree_ids() == [tree("b").id]
                assert seen.pack_size(pack) == 0
                with pytest.raises(MissingError):
                    seen.get(raw_block(1).form.key)
                with pytest.raises(MissingError):
                    seen.tree(tree("a").id)
                assert list(seen.verify()) == []
