"""Checked files: damage of any byte is noticed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pvc.repo.trees.checked_file import CheckedFiles, with_check, without_check

if TYPE_CHECKING:
    from pathlib import Path

NAME = b"\x01" * 32


def dump(name: bytes, value: int) -> str:
    return json.dumps(with_check({"value": value}, name))


def load(name: bytes, data: bytes) -> int:
    return int(without_check(json.loads(data), name)["value"])


@pytest.fixture
def files(tmp_path: Path) -> CheckedFiles[int]:
    made = CheckedFiles(tmp_path / "folder", dump, load)
    made.write(NAME, 7)
    return made


def test_what_was_written_is_read(files: CheckedFiles[int]) -> None:
    assert files.read(NAME) == 7
    files.write(NAME, 8)
    assert files.read(NAME) == 8
    assert [path.name for path in files.folder.iterdir()] == [f"{NAME.hex()}.json"]


def test_no_other_byte_will_do(files: CheckedFiles[int]) -> None:
    data = files.path(NAME).read_bytes()
    for at in range(len(data)):
        files.path(NAME).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert files.read(NAME) is None
        files.path(NAME).write_bytes(data[:at])
        assert files.read(NAME) is None


def test_a_file_of_another_name(files: CheckedFiles[int]) -> None:
    other = b"\x02" * 32
    assert files.read(other) is None
    files.path(other).write_bytes(files.path(NAME).read_bytes())
    assert files.read(other) is None


def test_one_field() -> None:
    document = with_check({"value": [1], "note": "x"}, NAME, "value")
    assert without_check(document | {"note": "y"}, NAME, "value") == {"value": [1], "note": "y"}
    for wrong in ({"value": [2]}, {"check": "0"}):
        with pytest.raises(ValueError, match="check value is not that of"):
            without_check(document | wrong, NAME, "value")
    with pytest.raises(ValueError, match="check value is not that of"):
        without_check(document, NAME)
    with pytest.raises(KeyError):
        without_check({"value": [1]}, NAME)
