from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc_store import errors
from pvc_store.errors import PvcError
from pvc_store.ids import IdError, block_key, check_value, object_id, parse_id
from pvc_store.kinds import BYTES, KIND_BY_CODE, KIND_BY_NAME


def test_hashes_are_those_of_the_published_algorithms() -> None:
    assert block_key(b"").hex() == "99aa06d3014798d86001c324468d497f"
    assert block_key(b"abc").hex() == "06b05ab6733a618578af5f94892f3950"
    assert check_value(b"") == 0x2D06800538D394C2
    assert check_value(b"abc") == 0x78AF5F94892F3950
    assert object_id(b"").hex() == (
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    )
    assert object_id(b"abc").hex() == (
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    )


@given(st.binary(min_size=32, max_size=32))
def test_an_id_is_read_from_its_hexadecimal(name: bytes) -> None:
    assert parse_id(name.hex()) == name


@pytest.mark.parametrize(
    "text", ["", "ab", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n", " " + "0" * 63, "é" * 64]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(IdError) as caught:
        parse_id(text)
    assert caught.value.text == text


def test_kinds_are_those_that_packs_were_written_with() -> None:
    kinds = {kind.code: (kind.name, kind.bits) for kind in KIND_BY_NAME.values()}
    assert kinds == {
        1: ("BOOL", 8), 2: ("U8", 8), 3: ("I8", 8), 4: ("U16", 16), 5: ("I16", 16),
        6: ("U32", 32), 7: ("I32", 32), 8: ("U64", 64), 9: ("I64", 64),
        16: ("BF16", 16), 17: ("F16", 16), 18: ("F32", 32), 19: ("F64", 64), 20: ("C64", 64),
        32: ("F8_E4M3", 8), 33: ("F8_E5M2", 8), 34: ("F8_E4M3FNUZ", 8), 35: ("F8_E5M2FNUZ", 8),
        36: ("F8_E8M0", 8), 37: ("F6_E2M3", 6), 38: ("F6_E3M2", 6), 39: ("F4", 4),
    }  # fmt: skip
    assert {0: BYTES} | {kind.code: kind for kind in KIND_BY_NAME.values()} == KIND_BY_CODE


def test_a_tensor_of_a_kind_has_so_many_bytes() -> None:
    assert KIND_BY_NAME["BF16"].bytes_of(()) == 2
    assert KIND_BY_NAME["F64"].bytes_of((3, 5)) == 120
    assert KIND_BY_NAME["F32"].bytes_of((7, 0, 1 << 63)) == 0
    assert [KIND_BY_NAME["F4"].bytes_of((count,)) for count in range(4)] == [0, 1, 1, 2]
    assert [KIND_BY_NAME["F6_E2M3"].bytes_of((count,)) for count in range(5)] == [0, 1, 2, 3, 3]


def test_the_errors_have_one_root() -> None:
    named = {name: found for name, found in vars(errors).items() if name.endswith("Error")}
    assert all(issubclass(error, PvcError) for error in named.values())
    assert set(named) == {
        "PvcError", "StoreError", "MissingError", "DamageError", "FormatError", "LockedError",
    }  # fmt: skip


def test_numpy_is_loaded_only_when_blocks_are_sought() -> None:
    command = "import sys, pvc_store.files; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
