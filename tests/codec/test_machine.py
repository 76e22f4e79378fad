"""Machine code is kept, found again without numba, and made anew when it is of no use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pvc
import pvc_store

WORK = """
import sys
if {without_numba}:
    sys.modules["numba"] = None
import numpy as np
from pvc.codec import BaseBlock, decode, encode, kernels, measure
from pvc_store.ids import block_key
from pvc_store.kinds import KIND_BY_NAME
assert kernels.__file__.startswith({folder!r})
kind, wide = KIND_BY_NAME["BF16"], KIND_BY_NAME["F32"]
base = np.linspace(-1, 1, 5000, dtype="<f4").view("<u2")[1::2].copy().view(np.uint8)
raw = base.copy()
raw[::7] ^= 1
out = np.empty_like(raw)
decode(encode(raw, kind, BaseBlock(base, block_key(base), kind)), base, out)
assert (out == raw).all()
assert measure(raw, kind, base, kind).changed == len(set(range(0, len(raw), 7)))
float32 = raw.view("<u2").astype("<u4") << 16
assert measure(float32.view(np.uint8), wide, raw, kind).changed == 0
assert ("numba" in sys.modules) == ({without_numba} or {compiles})
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation in which the kernels have run once."""
    folder = tmp_path_factory.mktemp("install")
    for package in (pvc, pvc_store):
        source = Path(package.__path__[0])
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    work(folder, compiles=True)
    return folder


@pytest.fixture
def install(warm: Path, tmp_path: Path) -> Path:
    return shutil.copytree(warm, tmp_path / "install")


def work(folder: Path, *, compiles: bool = False, without_numba: bool = False) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON"))}
    code = WORK.format(folder=str(folder), compiles=compiles, without_numba=without_numba)
    subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        check=True,
    )


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "pvc/codec/__pycache__").glob("*.o"))


def test_code_is_used_without_numba(install: Path) -> None:
    before = kept(install)
    names = {file.name.rsplit("-", 1)[0] for file in before}
    assert {"difference", "scatter", "gather", "restore", "float_squares"} <= names
    work(install, without_numba=True)
    assert kept(install) == before


def test_damaged_code_is_made_anew(install: Path) -> None:
    cut, flipped, *_ = kept(install)
    cut.write_bytes(b"")
    damaged = bytearray(flipped.read_bytes())
    damaged[40] ^= 1
    flipped.write_bytes(damaged)
    work(install, compiles=True)
    assert cut.stat().st_size > 0
    assert flipped.read_bytes() != damaged
    work(install, without_numba=True)


def test_code_of_another_source_is_not_used(install: Path) -> None:
    before = set(kept(install))
    source = install / "pvc/codec/kernels.py"
    source.write_text(source.read_text() + "# changed\n")
    work(install, compiles=True)
    assert len(set(kept(install)) - before) == len(before)


def test_nothing_else_is_left(install: Path) -> None:
    left = [path.name for path in (install / "pvc/codec/__pycache__").iterdir()]
    assert all(name.endswith(".o") and not name.startswith(".") for name in left)


def test_arguments_become_a_frame() -> None:
    from pvc.codec.entry import form, frame

    a = np.zeros((2, 3), np.int16)
    b = np.zeros(4, np.float64)
    assert frame((a, 5, (b, (7,)))) == [id(a), 5, id(b), 7]
    assert form((a, 5, (b, (7,)))) == (("h", 2), None, (("d", 1), (None,)))
