from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc_store.block import BLOCK_BYTES, DepthError
from pvc_store.errors import FormatError, MissingError
from pvc_store.frame import (
    CheckError,
    MagicError,
    NewerVersionError,
    TruncatedFrameError,
    unpack_frame,
)
from pvc_store.ids import NO_ID, object_id
from pvc_store.kinds import BYTES, KIND_BY_NAME, Kind
from pvc_store.tree import MAGIC, MAX_NAME_BYTES, Tensor, Tree, TreeError, TreeIdError
from tests.store.samples import BF16, files_of, no_file, tensor, tree, tree_file
from tests.store.strategies import damaged, tensors, trees

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

BASE = tree("a", "b", "c")
CHILD = Tree([BASE["a"], tensor("b", 50), tensor("d", 51, (3, 2))])


def content_of(file: bytes) -> bytes:
    return unpack_frame(file, MAGIC, 32, "A tree")[1]


def count(number: int) -> bytes:
    return number.to_bytes(4, "little")


def name(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(2, "little") + text


def coded(text: bytes, *, kind: int = 16, dims: tuple[int, ...] = (), keys: int = 1) -> bytes:
    """One tensor as its bytes stand in a file."""
    shape = bytes([kind, len(dims)]) + b"".join(dim.to_bytes(8, "little") for dim in dims)
    return name(text) + shape + bytes(32) + bytes(16 * keys)


def read(
    file: bytes, expected: bytes = NO_ID, base_file: Callable[[bytes], bytes] = no_file
) -> Tree:
    return Tree.from_bytes(file, expected, base_file, "Tree 12")


# Identity


def test_the_id_is_the_hash_of_the_bytes_that_the_format_names() -> None:
    one = Tensor("é", BF16, (2, 3), bytes(range(32)), b"k" * 16)
    canonical = b"\1\0\0\0\2\0\xc3\xa9\x10\2" + b"\2" + bytes(7) + b"\3" + bytes(7)
    assert Tree([one]).id == object_id(b"PVCTREE1" + canonical + bytes(range(32)) + b"k" * 16)
    assert Tree([]).id == object_id(b"PVCTREE1" + bytes(4))


@given(trees, st.randoms(use_true_random=False))
def test_the_id_does_not_depend_on_the_order_of_insertion(one: Tree, order: random.Random) -> None:
    shuffled = list(one.values())
    order.shuffle(shuffled)
    assert Tree(shuffled) == one
    assert list(Tree(shuffled)) == list(one) == sorted(one, key=str.encode)
    assert hash(Tree(shuffled)) == hash(one)


@given(trees, trees)
def test_different_trees_have_different_ids(one: Tree, other: Tree) -> None:
    assert (one.id == other.id) == (dict(one) == dict(other))


@given(tensors(), st.data())
def test_any_change_of_a_tensor_gives_another_id(one: Tensor, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 255))
    flipped = bytearray(one.digest)
    flipped[bit // 8] ^= 1 << bit % 8
    others = [
        replace(one, name=one.name + "x"),
        replace(one, digest=bytes(flipped)),
        replace(one, shape=(*one.shape, 1)),
    ]
    if one.keys:
        bit = data.draw(st.integers(0, 8 * len(one.keys) - 1))
        flipped = bytearray(one.keys)
        flipped[bit // 8] ^= 1 << bit % 8
        others.append(replace(one, keys=bytes(flipped)))
    others += [
        replace(one, kind=kind)
        for kind in KIND_BY_NAME.values()
        if kind.bits == one.kind.bits and kind != one.kind
    ]
    ids = {Tree([each]).id for each in (one, *others)}
    assert len(ids) == 1 + len(others)


def test_tensors_that_run_together_differ() -> None:
    # The same letters, cut into names elsewhere.
    assert len({tree("ab", "c").id, tree("a", "bc").id, tree("abc").id, tree("ab").id}) == 4


# Files


@given(trees, trees)
def test_a_tree_comes_back_whole_and_against_any_base(one: Tree, base: Tree) -> None:
    for file in (one.to_bytes(), one.to_bytes(base)):
        got = Tree.from_bytes(file, one.id, files_of(base), "here")
        assert got.id == one.id
        assert list(got.items()) == list(one.items())
        assert Tree(got.values()).id == one.id


def test_against_a_base_only_what_differs_is_stored() -> None:
    many = Tree(tensor(f"t{at:04}", at, (1000,)) for at in range(1000))
    changed = Tree([*list(many.values())[1:], tensor("new", 5000)])
    assert len(changed.to_bytes(many)) < 300 < 40_000 < len(changed.to_bytes())
    assert Tree.base_of(changed.to_bytes(many), "here") == many.id
    assert Tree.base_of(changed.to_bytes(), "here") is None
    assert Tree.base_of(changed.to_bytes(changed), "here") is None


@given(trees, trees)
def test_a_file_is_whole_if_it_holds_just_the_tree_of_its_name(one: Tree, base: Tree) -> None:
    whole = one.to_bytes()
    assert Tree.is_whole(whole, one.id, "here")
    assert Tree.is_whole(whole, base.id, "here") == (one == base)
    assert Tree.is_whole(one.to_bytes(base), one.id, "here") == (one == base)
    with pytest.raises(CheckError):
        Tree.is_whole(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], one.id, "here")


@given(trees, trees)
def test_a_base_that_is_known_is_not_read_again(one: Tree, base: Tree) -> None:
    def head_only(tree_id: bytes) -> bytes:
        return files_of(base)(tree_id)[:40]

    got = Tree.from_bytes(one.to_bytes(base), one.id, head_only, "here", {base.id: base})
    assert list(got.items()) == list(one.items())


def test_lengths_and_counts() -> None:
    nbytes = 2 * BLOCK_BYTES + 10
    one = Tensor("a", KIND_BY_NAME["U8"], (nbytes,), bytes(32), bytes(range(48)))
    assert (one.nbytes, one.block_count) == (nbytes, 3)
    assert [one.key(at) for at in range(3)] == [bytes(range(at, at + 16)) for at in (0, 16, 32)]
    assert [one.block_length(at) for at in range(3)] == [BLOCK_BYTES, BLOCK_BYTES, 10]
    assert Tree([one, tensor("b")]).nbytes == nbytes + 8


# Malformed trees


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        (replace(tensor("a"), keys=b""), "too short or too long"),
        (replace(tensor("a"), keys=bytes(32)), "too short or too long"),
        (replace(tensor("a"), shape=(0,)), "too short or too long"),
        (replace(tensor("a"), digest=bytes(31)), "too short or too long"),
        (replace(tensor("a"), shape=(-4,)), "does not fit 64 bits"),
        (replace(tensor("a"), shape=(0, 1 << 64)), "does not fit 64 bits"),
        (replace(tensor("a"), shape=(1 << 50,)), "more than 1125899906842624 bytes"),
        (replace(tensor("a"), shape=((1 << 64) - 1,) * 255), "more than"),
        (replace(tensor("a"), shape=(1,) * 256), "exceed the limits"),
        (replace(tensor("a"), name="x" * (MAX_NAME_BYTES + 1)), "exceed the limits"),
        (replace(tensor("a"), name="\ud800"), "not Unicode text"),
        (replace(tensor("a", 0, (8,)), kind=BYTES), "BYTES is no kind of tensors"),
        (replace(tensor("a"), kind=Kind("BF17", 16, 16)), "BF17 is no kind of tensors"),
        (replace(tensor("a"), kind=Kind("NEW", 99, 16)), "NEW is no kind of tensors"),
    ],
)
def test_a_tensor_that_could_not_be_stored_makes_no_tree(wrong: Tensor, detail: str) -> None:
    with pytest.raises(TreeError, match=detail):
        Tree([wrong])


def test_two_tensors_of_one_name_make_no_tree() -> None:
    with pytest.raises(TreeError, match="one name"):
        Tree([tensor("a", 1), tensor("a", 2)])


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "ends at byte 0"),
        (count(1), "it claims 1 items"),
        (count(0) + b"\0", "1 bytes follow"),
        (count(1) + coded(b"a") + b"\0", "1 bytes follow"),
        (count(2) + coded(b"a"), "within a field"),
        (count((1 << 32) - 1) + coded(b"a"), "4294967295 items"),
        (count(2) + coded(b"b") + coded(b"a"), "'a' is out of order"),
        (count(2) + coded(b"a") + coded(b"a"), "'a' is out of order"),
        (count(1) + coded(b"\xff"), "not UTF-8"),
        (count(1) + coded(b"\xed\xa0\x80"), "not UTF-8"),
        (count(1) + name(b"a", 9), "within a field"),
        (count(1) + coded(b"a", kind=0), "unknown kind 0"),
        (count(1) + coded(b"a", kind=99), "unknown kind 99"),
        (count(1) + coded(b"a", keys=0), "within a field"),
        (count(1) + coded(b"a", keys=2), "16 bytes follow"),
        (count(1) + coded(b"a", dims=((1 << 64) - 1,) * 255), "within a field"),
        (count(1) + coded(b"a", dims=(1 << 60,)), "within a field"),
    ],
)
def test_a_malformed_tree_is_refused(content: bytes, detail: str) -> None:
    with pytest.raises(TreeError, match=detail) as caught:
        read(tree_file(content))
    assert caught.value.what == "Tree 12"


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (count(1) + name(b"z") + count(0), "lacks or that comes back"),
        (count(1) + name(b"a") + count(1) + coded(b"a"), "lacks or that comes back"),
        (count(2) + name(b"b") + name(b"a") + count(0), "'a' is out of order"),
        (count(2) + name(b"a") + name(b"a") + count(0), "'a' is out of order"),
        (count((1 << 32) - 1) + name(b"a") + count(0), "4294967295 items"),
        (count(1) + name(b"a"), "within a field"),
        (count(0) + count(0) + b"\0", "1 bytes follow"),
    ],
)
def test_malformed_differences_are_refused(content: bytes, detail: str) -> None:
    with pytest.raises(TreeError, match=detail):
        read(tree_file(content, BASE.id), base_file=files_of(BASE))


def test_what_is_no_tree_is_refused() -> None:
    whole = BASE.to_bytes()
    for error, data in (
        (MagicError, b""),
        (MagicError, b"PVCLAYT1" + whole[8:]),
        (NewerVersionError, b"PVCTREE2" + whole[8:]),
        (TruncatedFrameError, whole[:39]),
    ):
        with pytest.raises(error):
            read(data)
        with pytest.raises(error):
            Tree.base_of(data, "Tree 12")


def test_a_file_with_another_tree_is_refused() -> None:
    with pytest.raises(TreeIdError, match=BASE.id.hex()):
        read(BASE.to_bytes(), CHILD.id)
    with pytest.raises(TreeIdError):
        read(CHILD.to_bytes(BASE), BASE.id, files_of(BASE))


def test_a_base_with_a_base_is_refused() -> None:
    files = {
        BASE.id: BASE.to_bytes(CHILD),
        CHILD.id: CHILD.to_bytes(BASE),
        tree("x").id: tree("x").to_bytes(BASE),
    }
    for expected, file in files.items():
        with pytest.raises(DepthError, match="has a base itself"):
            read(file, expected, files.__getitem__)
    own = tree_file(count(0) + count(0), BASE.id)
    with pytest.raises(DepthError):
        read(own, BASE.id, lambda _: own)


def test_a_base_that_is_missing_or_damaged_is_told() -> None:
    def missing(tree_id: bytes) -> bytes:
        raise MissingError("tree", tree_id.hex())

    with pytest.raises(MissingError):
        read(CHILD.to_bytes(BASE), CHILD.id, missing)
    with pytest.raises(TreeIdError, match=f"Tree {BASE.id.hex()} is malformed"):
        read(CHILD.to_bytes(BASE), CHILD.id, lambda _: tree("x").to_bytes())


def test_a_small_file_cannot_ask_for_much_memory() -> None:
    tracemalloc.start()
    try:
        for content in (
            count((1 << 32) - 1) + bytes(1000),
            count(1) + coded(b"a", dims=((1 << 50) - 1,)),
            count(1) + coded(b"a", dims=((1 << 64) - 1,) * 255),
        ):
            with pytest.raises(TreeError):
                read(tree_file(content))
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


@given(damaged(content_of(CHILD.to_bytes())))
def test_damaged_content_raises_format_errors_only(content: bytes) -> None:
    with pytest.raises(FormatError):
        read(tree_file(content), NO_ID)


@given(damaged(content_of(CHILD.to_bytes(BASE))))
def test_damaged_differences_raise_format_errors_only(content: bytes) -> None:
    with pytest.raises(FormatError):
        read(tree_file(content, BASE.id), NO_ID, files_of(BASE))


@given(damaged(content_of(CHILD.to_bytes())))
def test_no_two_files_hold_one_tree(content: bytes) -> None:
    # The whole form is canonical: other bytes are another tree, or none.
    if content != content_of(CHILD.to_bytes()):
        with pytest.raises(FormatError):
            read(tree_file(content), CHILD.id)
