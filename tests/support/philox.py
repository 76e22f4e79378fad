"""Philox4x32-10 in plain Python, from the paper (Salmon et al., SC 2011), and pvc's use of it."""

from __future__ import annotations

from blake3 import blake3

LOW = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, ...]:
    """Four words of 32 bits."""
    left, right = (counter[0], counter[1]), (counter[2], counter[3])
    low_key, high_key = key
    for _ in range(10):
        first, second = 0xD2511F53 * left[0], 0xCD9E8D57 * right[0]
        left = (second >> 32) ^ left[1] ^ low_key, second & LOW
        right = (first >> 32) ^ right[1] ^ high_key, first & LOW
        low_key, high_key = (low_key + 0x9E3779B9) & LOW, (high_key + 0xBB67AE85) & LOW
    return *left, *right


def words(seed: int, tensor: str, identity: bytes, elements: range) -> list[int]:
    """The words of some elements of a vector in a tensor, as docs/format/vector.md says."""
    name = tensor.encode()
    sizes = seed.to_bytes(8, "little") + len(name).to_bytes(8, "little")
    stream = blake3(b"pvc random bits 1" + sizes + name + identity).digest()
    a, b, c, d = (int.from_bytes(stream[at : at + 4], "little") for at in (0, 4, 8, 12))
    return [philox(((i // 4) & LOW, i // 4 >> 32, c, d), (a, b))[i % 4] for i in elements]
