"""Somebody does something to a target between a kill and the next command; many times."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.black_box.pvc_process import killed, pvc, scene, sure, weights

if TYPE_CHECKING:
    from pathlib import Path

FEW, MANY = 6, 300
ACTS = ("nothing", "result", "result in a copy", "copy", "move", "link", "replace")
COMMANDS = (
    ("forget", "nowhere"),
    ("build", "c"),
    ("status",),
    ("checkout", "main", "--to", "served"),
)


def trial(root: Path, draw: random.Random) -> str:
    """One kill, one act, one command: what was there afterwards is as it should be."""
    template, trial_root = root / "template", root / "trial"
    shutil.rmtree(trial_root, ignore_errors=True)
    work, served = template / "work", template / "work" / "served"
    if not work.exists():
        scene(template)
    sure(work, "checkout", "main", "--to", "served")
    killed(work, "checkout", "base", "--to", "served")
    act, command = draw.choice(ACTS), draw.choice(COMMANDS)
    known = {weights(template / name) for name in ("base", "m1")}
    if act == "nothing":
        pvc(work, *command)
        if command != ("status",):
            assert weights(served) == weights(template / "m1")
    elif act == "copy":
        before = weights(served)
        shutil.copytree(work, trial_root / "copy", symlinks=True)
        pvc(trial_root / "copy", *command)
        assert weights(served) == before
        assert weights(trial_root / "copy" / "served") == before
    elif act == "move":
        trial_root.mkdir()
        work.rename(trial_root / "work")
        pvc(trial_root / "work", *command)
        assert not work.exists()
        assert command == ("status",) or weights(trial_root / "work" / "served") in known
        (trial_root / "work").rename(work)
    else:
        _put(served, template, trial_root, act)
        before, base = weights(served), weights(template / "base")
        pvc(work, *command)
        assert weights(served) == before
        assert weights(template / "base") == base
        _put_back(served)
        sure(work, "build", "c")
        pvc(work, "forget", "served")
    assert "no damage" in sure(work, "fsck")
    return act


def _put(served: Path, template: Path, aside: Path, act: str) -> None:
    """A job, or a person, does something to the target."""
    new = template / "m2" / "model.safetensors"
    if act == "result":
        shutil.copyfile(new, served / "model.safetensors")
        return
    aside.mkdir()
    if act == "result in a copy":
        shutil.copytree(served, aside / "out")
        shutil.copyfile(new, aside / "out" / "model.safetensors")
        shutil.rmtree(served)
        (aside / "out").rename(served)
        return
    served.rename(aside / "served")
    if act == "link":
        served.symlink_to(template / "base")
    else:
        shutil.copytree(template / "m2", served)


def _put_back(served: Path) -> None:
    if served.is_symlink():
        served.unlink()
    else:
        shutil.rmtree(served)


@pytest.mark.parametrize("number", [FEW, pytest.param(MANY, marks=pytest.mark.torture)])
def test_acts_between_a_kill_and_the_next_command(tmp_path: Path, number: int) -> None:
    draw = random.Random(number)
    acts = [trial(tmp_path.resolve(), draw) for _ in range(number)]
    assert len(set(acts)) > min(number, len(ACTS)) // 2
