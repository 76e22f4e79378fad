"""JSON as safetensors headers and indexes use it: UTF-8, no repeated keys, no NaN.

The standard library's reader guesses the encoding, keeps the last of two equal keys and knows
constants that JSON does not have; here each of them is an error.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import NoReturn

from pvc_store.ids import IdError

MALFORMATIONS = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, IdError,
)  # fmt: skip
"""What reading JSON of another form than expected can raise."""


class JsonError(ValueError):
    """The bytes are not JSON."""


class RepeatedKeyError(JsonError):
    """An object holds one key more than once.

    Attributes:
        key: the first such key.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"the key {key[:80]!r} is there more than once")


def parse(raw: bytes) -> object:
    """The value that `raw` stands for.

    Raises:
        RepeatedKeyError: an object holds one key more than once.
        JsonError: anything else that is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(
            raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonError(str(error)) from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise RepeatedKeyError(next(key for key, count in counts.items() if count > 1))
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not a JSON value")
