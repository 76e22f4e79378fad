"""Memory does not grow with the model."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.shards import entry, shard

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
LIMIT = 400 * MIB
WORK = """
import sys, threading, time
from pathlib import Path
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.init import initialise
from pvc.repo.repository import Repository
from pvc.parallel import Crew

peak = 0
done = threading.Event()

def watch():
    global peak
    while not done.is_set():
        text = Path("/proc/self/status").read_text()
        peak = max(peak, int(text.split("RssAnon:")[1].split()[0]) * 1024)
        time.sleep(0.002)

watcher = threading.Thread(target=watch)
watcher.start()
top, crew = Path(sys.argv[1]), Crew(2)
initialise(top / "work", top / "base", by_value=True, crew=crew)
with Repository.open(top / "work") as repository:
    commit(repository, Wish("tuned"), CheckpointSource(top / "tuned"), crew)
    checkout(repository, "HEAD", DirectoryTarget(top / "out"), keep_head=True, crew=crew)
done.set()
watcher.join()
print(peak)
"""


def large(directory: Path, count: int, tuned: bool) -> None:
    """`count` tensors of 10 different blocks, quick to make; one number in 64 is trained."""
    directory.mkdir()
    size = 10 * MIB
    header = {
        f"layer.{at}.weight": entry("BF16", [size // 2], at * size, (at + 1) * size)
        for at in range(count)
    }
    row = bytearray(range(256)) * 32
    for place in range(0, len(row), 128) if tuned else ():
        row[place] ^= 1
    with (directory / "model.safetensors").open("wb") as file:
        file.write(shard(header))
        for block in range(count * 10):
            file.write(block.to_bytes(8192, "little") + row * (MIB // len(row) - 1))


def peak(top: Path, count: int) -> int:
    top.mkdir()
    (top / "work").mkdir()
    large(top / "base", count, tuned=False)
    large(top / "tuned", count, tuned=True)
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(top)], check=True, capture_output=True, text=True
    )
    out, tuned = (top / name / "model.safetensors" for name in ("out", "tuned"))
    assert filecmp.cmp(out, tuned, shallow=False)
    return int(done.stdout)


@pytest.mark.slow
def test_memory_is_bounded(tmp_path: Path) -> None:
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 4 << 30:
        pytest.skip("the models lie in memory too, and there is little of it")
    small, great = peak(tmp_path / "small", 10), peak(tmp_path / "great", 30)
    assert great < LIMIT
    assert great < 1.15 * small
