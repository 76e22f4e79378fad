"""Names of stored things, and how they are computed.

    block key      xxh3-128 of the block's raw bytes, 16 bytes: lookup, skip, verify on every read
    object id      BLAKE3-256 of an object's canonical bytes, 32 bytes: identity and trust

Inside the program both are `bytes`; people and text files see lower-case hexadecimal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import xxhash
from blake3 import blake3

from pvc_store.errors import StoreError

if TYPE_CHECKING:
    from typing_extensions import Buffer

KEY_BYTES = 16
ID_BYTES = 32
NO_KEY = bytes(KEY_BYTES)
NO_ID = bytes(ID_BYTES)

_ID_PATTERN = re.compile(r"[0-9a-f]{64}")


class IdError(StoreError):
    """A text is not an object id.

    Attributes:
        text: the text.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(
            f"{text[:80]!r} is not an object id: 64 lower-case hex digits are expected."
        )


def block_key(raw: Buffer) -> bytes:
    """The key of a block: xxh3-128 of its raw bytes, big-endian as the library writes it."""
    return xxhash.xxh3_128_digest(raw)


def check_value(data: Buffer) -> int:
    """xxh3-64 of stored bytes: notices damage before the bytes are decoded."""
    return xxhash.xxh3_64_intdigest(data)


def object_id(data: Buffer) -> bytes:
    """The id of an object: BLAKE3-256 of its canonical bytes."""
    return blake3(data).digest()


def parse_id(text: str) -> bytes:
    """The id that a text of 64 hexadecimal digits stands for.

    Raises:
        IdError: the text is anything else.
    """
    if not _ID_PATTERN.fullmatch(text):
        raise IdError(text)
    return bytes.fromhex(text)
