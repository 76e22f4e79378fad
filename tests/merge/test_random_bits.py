"""Random bits: Philox as it was published, the same in any order."""

from __future__ import annotations

import numpy as np
import pytest

from pvc.merge.random_bits import Stream, fill
from tests.support.philox import philox, words

NAMED = bytes(range(32))


def drawn(stream: Stream, first: int, count: int) -> list[int]:
    out = np.empty(count, np.uint32)
    fill(stream, first, out)
    found: list[int] = out.tolist()
    return found


@pytest.mark.parametrize(
    ("counter", "key", "expected"),  # the known answers of Random123
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_generator_is_philox(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert philox(counter, key) == expected


@pytest.mark.parametrize("first", [0, 4, 4096, (1 << 32) - 4, 4 << 32, (1 << 40) + 8])
def test_the_kernel_is_the_generator(first: int) -> None:
    stream = Stream.of(2**64 - 1, "model.norm.weight", NAMED)
    expected = words(2**64 - 1, "model.norm.weight", NAMED, range(first, first + 16))
    assert drawn(stream, first, 16) == expected


def test_the_documented_test_vector() -> None:
    found = drawn(Stream.of(7, "w", bytes(32)), 0, 4)
    assert found == [0xB661AF3C, 0xAA7573F8, 0xB9FA8C55, 0x1B66EE1C]


def test_elements_have_their_words_wherever_a_block_begins() -> None:
    stream = Stream.of(1, "w", NAMED)
    whole = drawn(stream, 0, 4000)
    assert drawn(stream, 0, 1600) + drawn(stream, 1600, 2400) == whole
    assert len(set(whole)) > 3990


def test_seeds_tensors_and_vectors_have_words_of_their_own() -> None:
    streams = [
        Stream.of(seed, tensor, identity)
        for seed in (0, 1, 1 << 63)
        for tensor in ("w", "ww", "")
        for identity in (NAMED, bytes(32))
    ]
    assert len(set(streams)) == len(streams)
    bits = np.array([drawn(stream, 0, 4096) for stream in streams]) >= 1 << 31
    agreement = np.abs((bits[:, None] == bits[None]).mean(axis=2) - np.eye(len(bits)) / 2 - 0.5)
    assert agreement.max() < 5 * 0.5 / 4096**0.5


@pytest.mark.parametrize(("first", "count"), [(1, 4), (0, 5)])
def test_only_whole_fours(first: int, count: int) -> None:
    with pytest.raises(ValueError, match="are not whole fours"):
        drawn(Stream.of(0, "w", NAMED), first, count)
