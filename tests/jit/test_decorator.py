"""Kernels are compiled late, kept where there is room, and run in many processes at once."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

import pvc
import pvc_store
from pvc.jit.decorator import jit
from pvc.jit.object_cache import CachedObject
from pvc.jit.signature import types_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LATE = """
import sys
import pvc.codec, pvc.merge.ties
assert not {"numba", "llvmlite"} & set(sys.modules)
"""
KERNELS = """
from typing import NamedTuple
import numpy as np
from pvc.jit.decorator import jit

class Line(NamedTuple):
    factor: int
    offset: float

@jit
def weigh(words, line, strips, table):
    room, sums = strips
    sums[:] = 0
    for i in range(words.size):
        room[i] = line.factor * words[i]
    for j in range(table.shape[0]):
        for i in range(words.size):
            sums[j] += line.offset + room[i] * table[j, i]

@jit
def allocate(words, sums):
    squares = np.zeros(words.size)
    for i in range(words.size):
        squares[i] = words[i] ** 2
    sums[0] = squares.sum()
"""
WORK = """
import json, sys, threading
{before}
import numpy as np
import kernels
words = np.frombuffer(bytes(range(201)), np.int8)[1:].view(np.int16)
sums = np.empty(3)
def work(sums):
    strips = np.empty(100), sums
    kernels.weigh(words, kernels.Line(3, 0.1), strips, np.sqrt(np.arange(300.0)).reshape(3, 100))
{work}
print(json.dumps([*sums.tolist(), bool(sys.modules.get("numba"))]))
"""
NO_NUMBA = "sys.modules['numba'] = None"


def start(
    folder: Path, work: str = "work(sums)", before: str = "", **environment: str
) -> subprocess.Popen[str]:
    """A process that runs `work` on the kernels in `folder`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON", "XDG"))}
    packages = [str(Path(package.__path__[0]).parent) for package in (pvc, pvc_store)]
    return subprocess.Popen(
        [sys.executable, "-c", WORK.format(before=before, work=work)],
        env={**kept, "PYTHONPATH": os.pathsep.join([str(folder), *packages]), **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[list[float], bool]:
    """The sums, and whether numba was imported."""
    out, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    *sums, compiled = json.loads(out)
    return sums, compiled


def write_kernels(folder: Path) -> Path:
    folder.mkdir()
    (folder / "kernels.py").write_text(KERNELS)
    return folder


def read_only(folder: Path) -> Path:
    """A folder in which no `__pycache__` can be made, not even by root."""
    (folder / "__pycache__").touch()
    return folder


def objects(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.o"))


class Ready(NamedTuple):
    folder: Path
    sums: list[float]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Kernels whose machine code is kept, and what they compute."""
    folder = write_kernels(tmp_path_factory.mktemp("jit") / "compiled")
    sums, used_numba = finish(start(folder))
    assert used_numba
    return Ready(folder, sums)


@pytest.fixture
def ready(compiled: Ready, tmp_path: Path) -> Ready:
    """A copy, whose machine code is as good."""
    folder = tmp_path / "copy"
    shutil.copytree(compiled.folder, folder)
    return Ready(folder, compiled.sums)


def test_importing_the_codec_does_not_import_numba() -> None:
    subprocess.run([sys.executable, "-c", LATE], check=True, timeout=100)


def test_kept_code_gives_the_same_without_numba(ready: Ready) -> None:
    assert finish(start(ready.folder, before=NO_NUMBA)) == (ready.sums, False)


def test_numba_itself_gives_the_same(ready: Ready) -> None:
    before = (
        "import numba, pvc.jit.decorator as jit\n"
        "jit.jit = numba.njit(error_model='numpy', nogil=True)"
    )
    assert finish(start(ready.folder, before=before)) == (ready.sums, True)


def test_a_changed_source_is_compiled_again(ready: Ready) -> None:
    source = ready.folder / "kernels.py"
    source.write_text(KERNELS.replace("line.factor * words", "-line.factor * words"))
    sums, used_numba = finish(start(ready.folder))
    assert used_numba
    assert sums != ready.sums
    assert len(objects(ready.folder)) == 2
    source.write_text(KERNELS)
    assert finish(start(ready.folder, before=NO_NUMBA)) == (ready.sums, False)


def test_a_damaged_object_is_made_again(ready: Ready) -> None:
    (kept,) = objects(ready.folder)
    kept.write_bytes(kept.read_bytes()[:-100])
    assert finish(start(ready.folder)) == (ready.sums, True)
    assert objects(ready.folder) == [kept]
    assert finish(start(ready.folder, before=NO_NUMBA)) == (ready.sums, False)


def test_two_processes_share_the_objects_of_a_read_only_install(tmp_path: Path) -> None:
    install = read_only(write_kernels(tmp_path / "install"))
    home = tmp_path / "home"
    home.mkdir()
    first, second = [finish(start(install, HOME=str(home))) for _ in range(2)]
    assert (second, first[1]) == ((first[0], False), True)
    (kept,) = objects(home)
    assert kept.name.startswith("kernels.weigh-")


def test_two_processes_may_compile_at_the_same_time(ready: Ready) -> None:
    (kept,) = objects(ready.folder)
    kept.unlink()
    processes = [start(ready.folder) for _ in range(2)]
    for process in processes:
        assert finish(process) == (ready.sums, True)
    assert [path.name for path in kept.parent.iterdir() if "weigh" in path.name] == [kept.name]


def test_where_nothing_can_be_written_each_process_compiles(ready: Ready, tmp_path: Path) -> None:
    shutil.rmtree(ready.folder / "__pycache__")
    nowhere = tmp_path / "file"
    nowhere.touch()
    process = start(read_only(ready.folder), HOME=str(nowhere), XDG_CACHE_HOME=str(nowhere))
    assert finish(process) == (ready.sums, True)
    assert not objects(tmp_path)


def test_a_kernel_that_needs_numba_at_run_time_is_left_to_numba(ready: Ready) -> None:
    before = objects(ready.folder)
    work = "kernels.allocate(words, sums); sums[1:] = 0"
    sums, used_numba = finish(start(ready.folder, work))
    words = np.frombuffer(bytes(range(201)), np.int8)[1:].view(np.int16).astype(float)
    assert (sums, used_numba) == ([float(np.sum(words**2)), 0, 0], True)
    assert objects(ready.folder) == before


def test_threads_that_meet_a_kernel_at_the_same_time(ready: Ready) -> None:
    work = (
        "found = [np.empty(3) for _ in range(8)]\n"
        "threads = [threading.Thread(target=work, args=[one]) for one in found]\n"
        "[one.start() for one in threads]\n"
        "[one.join() for one in threads]\n"
        "assert all((one == found[0]).all() for one in found)\n"
        "sums = found[0]"
    )
    assert finish(start(ready.folder, work, before=NO_NUMBA)) == (ready.sums, False)


@jit
def add(numbers: NDArray[Any], number: float, out: NDArray[Any]) -> None:
    for i in range(out.size):
        out[i] = numbers[i] + number


@jit
def refuse(numbers: NDArray[Any]) -> None:
    if numbers[0] > 1:
        raise ValueError


def test_each_type_has_its_code() -> None:
    for dtype in (np.int8, np.int32, np.float32, np.float64):
        numbers, out = np.arange(5).astype(dtype), np.zeros(5, dtype)
        add(numbers, 2, out)
        assert out.tolist() == [2, 3, 4, 5, 6]
    halves = np.zeros(3)
    add(np.arange(3), 0.5, halves)
    assert halves.tolist() == [0.5, 1.5, 2.5]


def test_arrays_need_not_be_aligned() -> None:
    raw = np.arange(41, dtype=np.uint8)
    numbers, out = raw[1:].view(np.int32), np.zeros(41, np.uint8)[1:].view(np.int32)
    add(numbers, 1, out)
    assert (out == numbers + 1).all()


def test_arrays_that_code_cannot_take_are_refused() -> None:
    numbers, out = np.arange(6), np.zeros(6, np.int64)
    add(numbers, 1, out)
    with pytest.raises(TypeError, match=r"shape \(3,\) and strides \(16,\)"):
        add(numbers[::2], 1, out[:3])
    with pytest.raises(TypeError, match=r"shape \(1, 2, 3\)"):
        add(numbers.reshape(1, 2, 3), 1, out)
    with pytest.raises(TypeError, match="list"):
        add([1, 2], 1, out)  # type: ignore[arg-type]
    add(numbers, 1, out)
    assert out.tolist() == [1, 2, 3, 4, 5, 6]


def test_read_only_arrays_are_read_and_not_written_to() -> None:
    numbers, out = np.arange(6), np.zeros(6, np.int64)
    add(numbers, 1, out)
    numbers.setflags(write=False)
    add(numbers, 2, out)
    assert out.tolist() == [2, 3, 4, 5, 6, 7]
    with pytest.raises(Exception, match=r"readonly|Cannot modify"):
        add(out, 1, numbers)
    assert numbers.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_kernel_that_fails_raises() -> None:
    refuse(np.ones(1))
    with pytest.raises((RuntimeError, ValueError)):
        refuse(np.full(1, 2.0))


def test_many_threads_compute_at_the_same_time() -> None:
    numbers, failures = np.arange(100_000), []
    together = Barrier(4)

    def work(number: int) -> None:
        out = np.zeros_like(numbers)
        together.wait()
        for _ in range(50):
            add(numbers, number, out)
            if not (out == numbers + number).all():
                failures.append(number)

    threads = [Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: bytes([data[0] ^ 1]) + data[1:],
    ],
)
def test_damage_is_seen(tmp_path: Path, damage: Any) -> None:
    (tmp_path / "kernels.py").write_text(KERNELS)
    kept = CachedObject(tmp_path / "kernels.py", "kernels.weigh", bytes(range(32)))
    assert kept.read() is None
    kept.write(b"some code, but too short to be any")
    assert kept.read() == b"some code, but too short to be any"
    (file,) = objects(tmp_path)
    other = CachedObject(kept.source, kept.label, bytes(range(1, 33)))
    shutil.copy(file, file.with_name(f"{other.name}.o"))
    assert other.read() is None
    file.write_bytes(damage(file.read_bytes()))
    assert kept.read() is None


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_what_others_may_have_written_is_not_loaded(tmp_path: Path, mode: int) -> None:
    (tmp_path / "kernels.py").write_text(KERNELS)
    kept = CachedObject(tmp_path / "kernels.py", "kernels.weigh", bytes(range(32)))
    kept.write(b"code")
    (file,) = objects(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    file.chmod(mode & 0o666)
    assert kept.read() is None
    file.chmod(0o644)
    file.parent.chmod(mode)
    assert kept.read() is None
    file.parent.chmod(0o755)
    assert kept.read() == b"code"
    copy = file.rename(file.with_suffix(".copy"))
    file.symlink_to(copy)
    assert kept.read() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_belongs_to_others_is_not_loaded(tmp_path: Path, what: str) -> None:
    (tmp_path / "kernels.py").write_text(KERNELS)
    kept = CachedObject(tmp_path / "kernels.py", "kernels.weigh", bytes(range(32)))
    kept.write(b"code")
    (file,) = objects(tmp_path)
    os.chown(file if what == "file" else file.parent, 12345, 12345)
    assert kept.read() is None


def test_where_others_may_write_the_users_folder_is_used(ready: Ready, tmp_path: Path) -> None:
    """And a planted object is not loaded: it is compiled."""
    home = tmp_path / "home"
    home.mkdir()
    (ready.folder / "__pycache__").chmod(0o777)
    (home / ".cache" / "pvc").mkdir(parents=True)
    (home / ".cache" / "pvc").chmod(0o775)  # as under umask 002
    first, second = [finish(start(ready.folder, HOME=str(home))) for _ in range(2)]
    assert (first, second) == ((ready.sums, True), (ready.sums, False))
    (kept,) = objects(home)
    assert not kept.stat().st_mode & 0o022
    assert not kept.parent.stat().st_mode & 0o022


def test_kept_code_is_found_by_types() -> None:
    numbers = np.zeros((2, 3), np.float32)
    arguments = [
        (numbers, 1, numbers),
        (numbers, 1.0, numbers),
        (numbers, 1, numbers[0]),
        (numbers, 1, numbers.astype(np.float64)),
        (numbers, 1, numbers.view(np.int32)),
        (numbers, 1, (numbers,)),
        (numbers, 1, np.frombuffer(numbers.tobytes(), np.float32)),
    ]
    keys = {CachedObject.of(add, types_of(one)).key for one in arguments}
    assert len(keys) == len(arguments)
    assert CachedObject.of(add, types_of(arguments[0])).key in keys
    assert CachedObject.of(refuse, types_of(arguments[0])).key not in keys


@pytest.mark.parametrize(
    "other",
    [
        "LIMIT = 4\ndef kernel(out): out[0] = LIMIT + 1",
        "LIMIT = 3\ndef kernel(out): out[0] = LIMIT + 2",
        "LIMIT = 3\ndef kernel(out): out[0] = LIMIT - 1",
        "LIMIT = 3\ndef kernel(out): out[1] = LIMIT + 1",
        "LIMIT = 3.0\ndef kernel(out): out[0] = LIMIT + 1",
    ],
)
def test_kept_code_is_found_by_what_is_compiled(other: str) -> None:
    keys = set()
    for source in ("LIMIT = 3\ndef kernel(out): out[0] = LIMIT + 1", other):
        scope: dict[str, Any] = {}
        exec(source, scope)
        keys.add(CachedObject.of(scope["kernel"], types_of([np.zeros(2)])).key)
    assert len(keys) == 2
