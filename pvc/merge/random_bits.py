"""Random bits for merge methods, from a counter: the same on every machine, in any order.

Philox4x32-10 (Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011) gives four words of 32 bits for
a key of 64 and a counter of 128 bits.  For element i of a tensor:

    stream   BLAKE3 of "pvc random bits 1", seed, length and bytes of the tensor's name (integers as
             8 bytes, little-endian), and identity of the vector; cut to 16 bytes
    key      bytes 0 to 7 of the stream, as two words, little-endian
    counter  i // 4 as two words, the lower one first; then bytes 8 to 15 of the stream
    word     number i % 4 of the four

So a vector has bits of its own in every tensor, which depend neither on its name, scale or place
among others nor on blocks and threads.

Test vector: seed 7, tensor "w", identity 32 zero bytes: elements 0 to 3 have the words
    b661af3c aa7573f8 b9fa8c55 1b66ee1c
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from blake3 import blake3

from pvc.jit.decorator import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint32]

ROUNDS = 10
WORD = 0xFFFFFFFF


class Stream(NamedTuple):
    """Where the bits of one vector in one tensor come from: four words."""

    key_0: int
    key_1: int
    counter_2: int
    counter_3: int

    @classmethod
    def of(cls, seed: int, tensor: str, identity: bytes) -> Stream:
        """The stream of a vector in a tensor.

        Args:
            seed: from 0 to 2**64 - 1.
            tensor: its name.
            identity: 32 bytes that are the vector's own.
        """
        name = tensor.encode()
        purpose = (
            b"pvc random bits 1",
            seed.to_bytes(8, "little"),
            len(name).to_bytes(8, "little"),
            name,
            identity,
        )
        digest = blake3(b"".join(purpose)).digest(length=16)
        return cls(*np.frombuffer(digest, "<u4").tolist())


def fill(stream: Stream, first: int, out: Words) -> None:
    """Write the words of consecutive elements.

    Args:
        stream: of the vector.
        first: index of the first element, a multiple of 4.
        out: receives a word for each element; their number is a multiple of 4.

    Raises:
        ValueError: `first` or the size of `out` is no multiple of 4.
    """
    if first % 4 or out.size % 4:
        raise ValueError(f"{out.size} words from element {first} on are not whole fours")
    _fill(stream, first // 4, out)


@jit
def _fill(stream: Stream, block: int, out: Words) -> None:
    """See `fill`; `block` is the first value of the counter."""
    word, half = np.uint64(WORD), np.uint64(32)
    factor_0, factor_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    step_0, step_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
    for i in range(out.size // 4):
        count = np.uint64(block) + np.uint64(i)
        x0, x1 = count & word, count >> half
        x2, x3 = np.uint64(stream.counter_2), np.uint64(stream.counter_3)
        key_0, key_1 = np.uint64(stream.key_0), np.uint64(stream.key_1)
        for _ in range(ROUNDS):
            product_0, product_1 = factor_0 * x0, factor_1 * x2
            x0 = (product_1 >> half) ^ x1 ^ key_0
            x2 = (product_0 >> half) ^ x3 ^ key_1
            x1, x3 = product_1 & word, product_0 & word
            key_0, key_1 = (key_0 + step_0) & word, (key_1 + step_1) & word
        out[4 * i] = np.uint32(x0)
        out[4 * i + 1] = np.uint32(x1)
        out[4 * i + 2] = np.uint32(x2)
        out[4 * i + 3] = np.uint32(x3)
