from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pvc.weights.checkpoint import Checkpoint
from pvc.weights.errors import ChangedError
from pvc.weights.reader import MAX_OPEN, CheckpointReader
from tests.support.shards import age, bytes_shard

DATA = bytes(range(256)) * 40


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    (tmp_path / "model.safetensors").write_bytes(bytes_shard(before=b"#" * 5, w=DATA, none=b""))
    (tmp_path / "config.json").write_text('{"a": 1}')
    age(tmp_path)
    return Checkpoint.open(tmp_path)


def open_files(directory: Path) -> list[str]:
    """The files in `directory` of which this process holds a descriptor."""
    descriptors = list(Path("/proc/self/fd").iterdir())
    targets = [link.readlink() for link in descriptors if link.is_symlink()]
    return [target.name for target in targets if target.parent == directory]


def test_any_part_of_a_tensor_can_be_read(checkpoint: Checkpoint) -> None:
    place = checkpoint.tensors["w"]
    with CheckpointReader(checkpoint) as reader:
        for start, length in [(0, len(DATA)), (0, 1), (300, 77), (len(DATA) - 1, 1), (9, 0)]:
            out = np.zeros(length, np.uint8)
            reader.read_into(place, start, out)
            assert out.tobytes() == DATA[start : start + length]


def test_any_contiguous_memory_is_filled(checkpoint: Checkpoint) -> None:
    matrix = np.zeros((4, 8), np.uint16)
    half = memoryview(bytearray(10))[5:]
    empty = np.zeros((0, 3), np.float32)
    with CheckpointReader(checkpoint) as reader:
        reader.read_into(checkpoint.tensors["w"], 2, matrix)
        reader.read_into(checkpoint.tensors["w"], 0, half)
        reader.read_into(checkpoint.tensors["none"], 0, empty)
    assert matrix.tobytes() == DATA[2:66]
    assert half == DATA[:5]


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (len(DATA), 1), (0, len(DATA) + 1)])
def test_nothing_outside_the_tensor_is_read(
    checkpoint: Checkpoint, start: int, length: int
) -> None:
    with CheckpointReader(checkpoint) as reader, pytest.raises(ValueError, match="'w' has"):
        reader.read_into(checkpoint.tensors["w"], start, bytearray(length))


def test_other_files_are_read_too(checkpoint: Checkpoint) -> None:
    out = bytearray(checkpoint.fingerprint["config.json"].size)
    with CheckpointReader(checkpoint) as reader:
        reader.read_file_into("config.json", 0, out)
        assert out == b'{"a": 1}'
        with pytest.raises(ChangedError, match="ends at byte 8"):
            reader.read_file_into("config.json", 7, bytearray(2))


def test_a_file_that_shrinks_while_it_is_open_is_an_error(checkpoint: Checkpoint) -> None:
    path = checkpoint.directory / "model.safetensors"
    place = checkpoint.tensors["w"]
    with CheckpointReader(checkpoint) as reader:
        reader.read_into(place, 0, bytearray(1))
        os.truncate(path, place.offset + 100)
        with pytest.raises(ChangedError, match=f"ends at byte {place.offset + 100}") as caught:
            reader.read_into(place, 50, bytearray(51))
    assert caught.value.path == path


def test_a_file_that_shrank_before_it_is_read_is_an_error(checkpoint: Checkpoint) -> None:
    os.truncate(checkpoint.directory / "model.safetensors", 100)
    with CheckpointReader(checkpoint) as reader, pytest.raises(ChangedError, match="of 100 bytes"):
        reader.read_into(checkpoint.tensors["w"], 0, bytearray(1))


def test_a_file_that_was_replaced_or_removed_is_an_error(checkpoint: Checkpoint) -> None:
    path = checkpoint.directory / "model.safetensors"
    twin = checkpoint.directory / "twin"
    twin.write_bytes(path.read_bytes())
    age(checkpoint.directory)
    checkpoint = Checkpoint.open(checkpoint.directory)
    twin.replace(path)
    with CheckpointReader(checkpoint) as reader, pytest.raises(ChangedError, match="inode"):
        reader.read_into(checkpoint.tensors["w"], 0, bytearray(1))
    path.unlink()
    with CheckpointReader(checkpoint) as reader, pytest.raises(ChangedError, match="is gone"):
        reader.read_into(checkpoint.tensors["w"], 0, bytearray(1))


def test_a_file_that_is_replaced_while_it_is_open_is_read_as_it_was(checkpoint: Checkpoint) -> None:
    path = checkpoint.directory / "model.safetensors"
    out = bytearray(len(DATA))
    with CheckpointReader(checkpoint) as reader:
        reader.read_into(checkpoint.tensors["w"], 0, bytearray(1))
        (checkpoint.directory / "twin").write_bytes(b"other")
        (checkpoint.directory / "twin").replace(path)
        reader.read_into(checkpoint.tensors["w"], 0, out)
    assert out == DATA
    with pytest.raises(ChangedError):
        checkpoint.check_unchanged()


def test_many_threads_and_shards_share_few_descriptors(tmp_path: Path) -> None:
    count = MAX_OPEN + 20
    for number in range(count):
        raw = bytes_shard(**{f"t{number:03}": number.to_bytes(2, "little") * 1000})
        (tmp_path / f"{number:03}.safetensors").write_bytes(raw)
    checkpoint = Checkpoint.open(tmp_path)

    def read(number: int) -> bool:
        out = bytearray(2000)
        reader.read_into(checkpoint.tensors[f"t{number:03}"], 0, out)
        return out == number.to_bytes(2, "little") * 1000

    with CheckpointReader(checkpoint) as reader:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, [(5 * at) % count for at in range(5 * count)]))
        assert len(open_files(tmp_path)) == MAX_OPEN
    assert open_files(tmp_path) == []


def test_a_file_is_opened_once(checkpoint: Checkpoint) -> None:
    with CheckpointReader(checkpoint) as reader:
        for start in range(10):
            reader.read_into(checkpoint.tensors["w"], start, bytearray(1))
        assert open_files(checkpoint.directory) == ["model.safetensors"]


def test_closing_waits_for_a_thread_that_still_reads(checkpoint: Checkpoint) -> None:
    reader = CheckpointReader(checkpoint)
    file = reader._file("config.json")
    reader.close()
    assert os.pread(file.fd, 3, 0) == b'{"a'
    del file
    assert open_files(checkpoint.directory) == []


def test_a_closed_reader_refuses(checkpoint: Checkpoint) -> None:
    reader = CheckpointReader(checkpoint)
    reader.close()
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read_into(checkpoint.tensors["w"], 0, bytearray(1))
