"""What hypothesis makes trees and damaged files of."""

from __future__ import annotations

from hypothesis import strategies as st

from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import ID_BYTES
from pvc_store.kinds import KIND_BY_NAME
from pvc_store.tree import Tensor, Tree

names = st.text(max_size=12)
digests = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)
tensor_kinds = st.sampled_from(sorted(KIND_BY_NAME.values(), key=lambda kind: kind.code))


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    kind = draw(tensor_kinds)
    shape = tuple(draw(st.lists(st.integers(0, 2000), max_size=3)))
    count = -(-kind.bytes_of(shape) // BLOCK_BYTES)
    pool = draw(st.binary(min_size=16, max_size=48))
    keys = bytes(pool[at % len(pool)] for at in range(16 * count)) if count < 64 else None
    if keys is None:  # too many blocks for an example
        shape, keys = (), pool[:16]
    return Tensor(draw(names), kind, shape, draw(digests), keys)


trees = st.lists(tensors(), max_size=6, unique_by=lambda each: each.name).map(Tree)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with some of them changed, missing, doubled or added."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        match draw(st.sampled_from(["flip", "cut", "insert", "remove", "repeat", "set"])):
            case "flip" if at < len(found):
                found[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if at < len(found):
                found[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "cut":
                del found[at:]
            case "insert":
                found[at:at] = draw(st.binary(min_size=1, max_size=20))
            case "remove":
                del found[at : at + draw(st.integers(1, 20))]
            case _:
                found[at:at] = found[max(0, at - 16) : at]
    return bytes(found)
