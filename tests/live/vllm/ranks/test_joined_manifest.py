"""Parts of ranks, put together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pvc.live.protocol.manifest import LiveTensor, Manifest, Storage
from pvc.live.protocol.process import ProcessIdentity
from pvc.live.protocol.region import Region
from pvc.live.vllm.ranks.joined_manifest import join_manifests
from pvc.live.vllm.ranks.rank_connection import RankError
from pvc_store.kinds import KIND_BY_NAME

BF16 = KIND_BY_NAME["BF16"]
SHAPE = (4, 6)


def rows(first: int, count: int) -> Region:
    """Some rows of the tensor, side by side in a storage."""
    return Region(0, 0, (count, 6), (12, 2), first * 12, (12, 2))


def columns(first: int, count: int) -> Region:
    return Region(0, 0, (4, count), (count * 2, 2), first * 2, (12, 2))


def part(rank: int, *regions: Region, direct: bool = True) -> Manifest:
    tensor = LiveTensor("w", BF16, SHAPE, direct, regions)
    storages = (Storage(rank, "cpu", 100, {}),)
    return Manifest(f"rank-{rank}", "M", ProcessIdentity.current(), storages, {"w": tensor}, ())


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([rows(0, 2)], [rows(2, 2)]),
        ([columns(0, 3)], [columns(3, 3)]),
        ([rows(0, 4)], [rows(0, 4)]),  # replicas
        ([rows(0, 4)], []),  # another stage of a pipeline
        ([columns(0, 4)], [columns(2, 4)]),
    ],
)
def test_parts_make_a_whole(one: list[Region], two: list[Region]) -> None:
    found = join_manifests("chat", [part(0, *one), part(1, *two)])
    tensor = found.tensors["w"]
    assert tensor.direct
    expected = (*one, *(replace(region, storage=1) for region in two))
    assert tensor.regions == expected
    assert [storage.rank for storage in found.storages] == [0, 1]
    assert Manifest.parse(found.to_bytes(), "here") == found


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (part(0, rows(0, 2)), part(1, rows(0, 2))),
        (part(0, rows(0, 3)), part(1)),
        (part(0), part(1)),
        (part(0, rows(0, 2)), part(1, columns(0, 5))),
        (part(0, rows(0, 4)), part(1, direct=False)),
    ],
)
def test_what_is_not_whole_is_not_direct(one: Manifest, two: Manifest) -> None:
    tensor = join_manifests("chat", [one, two]).tensors["w"]
    assert not tensor.direct
    assert tensor.regions == ()


def test_an_empty_tensor_is_whole() -> None:
    empty = part(0)
    empty.tensors["w"] = replace(empty.tensors["w"], shape=(0, 6))
    assert join_manifests("chat", [empty]).tensors["w"].direct


def group(rank: int, has: str, *groups: str, whole: str = "") -> Manifest:
    """A rank that has some of the tensors a to d, in another form unless they are in `whole`."""
    tensors = {
        name: LiveTensor(name, BF16, SHAPE, name not in has, (rows(0, 4),) * (name in whole))
        for name in "abcd"
    }
    storages = (Storage(rank, "cpu", 100, {}),)
    found = tuple(tuple(one) for one in groups)
    return Manifest(f"rank-{rank}", "M", ProcessIdentity.current(), storages, tensors, (), found)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (group(0, "ab", "ab"), group(1, "ab", "ab"), "ab"),
        (group(0, "ab", "ab"), group(1, "cd", "cd"), "ab cd"),  # stages of a pipeline
        (group(0, "abc", "ab", "c"), group(1, "bcd", "bcd"), "abcd"),
        (group(0, "ab", "ab"), group(1, "b"), ""),  # which the second cannot change
        (group(0, "ab", "ab"), group(1, "a", "a", whole="b"), ""),  # or would have to by itself
        (group(0, "abcd", "ab", "cd"), group(1, "ab", "ab", whole="d"), "ab"),
    ],
)
def test_groups_of_all_ranks(one: Manifest, two: Manifest, expected: str) -> None:
    found = join_manifests("chat", [one, two])
    assert found.groups == tuple(tuple(names) for names in expected.split())
    assert Manifest.parse(found.to_bytes(), "here") == found


def test_parts_of_different_models() -> None:
    other = part(1)
    other.tensors["w"] = replace(other.tensors["w"], shape=(2, 12))
    with pytest.raises(RankError, match="Rank 1 holds parts of another model"):
        join_manifests("chat", [part(0), other])
