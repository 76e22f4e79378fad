"""Kernels are compiled late, kept where there is room, and run in many processes at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pvc
import pvc_store

LATE = """
import sys
import pvc.codec
assert "numba" not in sys.modules
"""
WORK = """
import numpy as np
from pvc.codec import BaseBlock, decode, encode, kernels
from pvc_store.ids import block_key
from pvc_store.kinds import KIND_BY_NAME
assert kernels.__file__.startswith({folder!r})
base = np.arange(5000, dtype="<i2").view(np.uint8)
raw = base[::-1].copy()
raw[:9000] = base[:9000]
kind = KIND_BY_NAME["I16"]
out = np.empty_like(raw)
decode(encode(raw, kind, BaseBlock(base, block_key(base), kind)), base, out)
assert (out == raw).all()
"""


def start(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON", "XDG"))}
    return subprocess.Popen(
        [sys.executable, "-c", code.format(folder=str(folder))],
        env={**kept, "PYTHONPATH": str(folder), **environment},
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors


def read_only_install(folder: Path) -> Path:
    """A copy of the packages in which no `__pycache__` can be made, not even by root."""
    for package in (pvc, pvc_store):
        source = Path(package.__path__[0])
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pvc/codec/__pycache__").touch()
    return folder


def test_importing_the_codec_does_not_import_numba(tmp_path: Path) -> None:
    finish(start(LATE, read_only_install(tmp_path)))


def test_two_processes_share_the_cache_of_a_read_only_install(tmp_path: Path) -> None:
    install = read_only_install(tmp_path / "install")
    home = tmp_path / "home"
    home.mkdir()
    processes = [start(WORK, install, HOME=str(home)) for _ in range(2)]
    for process in processes:
        finish(process)
    kept = {path.name.split("-")[0] for path in home.rglob("*.nbi")}
    assert {"kernels.difference", "kernels.restore"} <= kept


def test_without_any_cache_kernels_are_compiled_each_time(tmp_path: Path) -> None:
    install = read_only_install(tmp_path / "install")
    nowhere = tmp_path / "file"
    nowhere.touch()
    finish(start(WORK, install, HOME=str(nowhere), XDG_CACHE_HOME=str(nowhere)))
    assert not list(tmp_path.rglob("*.nbi"))
