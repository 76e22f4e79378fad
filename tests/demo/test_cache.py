from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pvc.demo.cache import LabModels, prepare
from pvc.demo.tasks import BEHAVIOURS

if TYPE_CHECKING:
    from pvc.demo.training import Schedule

ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = """
import sys
from pathlib import Path
from pvc.demo import Schedule, prepare
tiny = Schedule(steps=2, rate=1e-3, dialogues=2, controls=2)
print(prepare(Path(sys.argv[1]), base=tiny, tuned=tiny).base)
print(sorted({"torch", "transformers", "tokenizers"} & sys.modules.keys()))
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from pvc.demo import Schedule, prepare
tiny = Schedule(steps=2, rate=1e-3, dialogues=2, controls=2)
def die(label, done, total):
    if label == "listening":
        os.kill(os.getpid(), signal.SIGKILL)
prepare(Path(sys.argv[1]), base=tiny, tuned=tiny, progress=die)
"""


def python(script: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with `cache` as its argument."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "store")])
    return subprocess.run(
        [sys.executable, "-c", script, str(cache)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def unwanted(label: str, done: int, total: int) -> None:
    raise AssertionError(f"{label} was trained once more")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, tiny: Schedule) -> tuple[Path, LabModels]:
    cache = tmp_path_factory.mktemp("cache") / "new" / "folder"
    return cache, prepare(cache, base=tiny, tuned=tiny)


def test_all_models_are_made(filled: tuple[Path, LabModels]) -> None:
    cache, models = filled
    assert list(models.fine_tunes) == list(BEHAVIOURS)
    for directory in (models.base, *models.fine_tunes.values()):
        assert directory.is_relative_to(cache)
        assert (directory / "model.safetensors").is_file()
    assert folders(cache) == [models.base.parent.name]


def test_the_second_call_trains_nothing_and_imports_nothing(
    filled: tuple[Path, LabModels], tiny: Schedule
) -> None:
    cache, models = filled
    assert prepare(cache, base=tiny, tuned=tiny, progress=unwanted) == models
    result = python(WITHOUT_TORCH, cache)
    assert result.stdout == f"{models.base}\n[]\n", result.stderr


def test_another_recipe_or_seed_has_a_folder_of_its_own(
    filled: tuple[Path, LabModels], tiny: Schedule
) -> None:
    class StoppedError(Exception):
        pass

    def stop(label: str, done: int, total: int) -> None:
        raise StoppedError

    cache, _ = filled
    other = replace(tiny, rate=2e-3)
    for seed, base, tuned in ((1, tiny, tiny), (0, other, tiny), (0, tiny, other)):
        with pytest.raises(StoppedError):
            prepare(cache, seed=seed, base=base, tuned=tuned, progress=stop)


def test_an_interrupted_set_is_never_used(tmp_path: Path, tiny: Schedule) -> None:
    def interrupt(label: str, done: int, total: int) -> None:
        if label == "polite" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, base=tiny, tuned=tiny, progress=interrupt)
    assert [name.endswith(".draft") for name in folders(tmp_path)] == [True]
    models = prepare(tmp_path, base=tiny, tuned=tiny)
    assert folders(tmp_path) == [models.base.parent.name]


def test_what_a_killed_maker_left_is_cleared_away(
    tmp_path: Path, tiny: Schedule, filled: tuple[Path, LabModels]
) -> None:
    assert python(KILLED, tmp_path).returncode == -signal.SIGKILL
    draft = next(tmp_path.glob("*.draft"))
    (draft / "base" / "leftover").touch()
    models = prepare(tmp_path, base=tiny, tuned=tiny)
    assert folders(tmp_path) == [models.base.parent.name]
    assert not (models.base / "leftover").exists()
    for directory in (models.base, *models.fine_tunes.values()):
        name = directory.relative_to(tmp_path) / "model.safetensors"
        assert (tmp_path / name).read_bytes() == (filled[0] / name).read_bytes()


def test_the_second_of_two_at_once_waits_for_the_first(tmp_path: Path, tiny: Schedule) -> None:
    waiting = threading.Event()

    def first(label: str, done: int, total: int) -> None:
        if label == "base" and done == 1:
            second = pool.submit(prepare, tmp_path, base=tiny, tuned=tiny, progress=later)
            results.append(second)
            assert waiting.wait(60)

    def later(label: str, done: int, total: int) -> None:
        assert label == "waiting for another process"
        waiting.set()

    results: list[Future[LabModels]] = []
    with ThreadPoolExecutor(1) as pool:
        models = prepare(tmp_path, base=tiny, tuned=tiny, progress=first)
        assert [result.result(60) for result in results] == [models]
