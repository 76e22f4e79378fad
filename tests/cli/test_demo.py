"""`pvc demo`, as it is typed; its models are those that tests/lab trains, once for both."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from pvc.cli.commands.demo import ENGINE
from pvc.demo.story import STORY
from tests.support.runner import Done, spawn

if TYPE_CHECKING:
    from pathlib import Path

SOON_SECONDS = 60
SHA256 = 64


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path_factory.getbasetemp() / "cache")}


def demo(directory: Path, **changes: str) -> Done:
    return spawn("demo", directory, cwd=directory.parent, env=changes)


def checksums(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.endswith(".safetensors")]
    found = [line.split()[0] for line in lines if not line.startswith("$")]
    assert all(len(digest) == SHA256 for digest in found)
    return list(zip(found[::2], found[1::2], strict=True))


def measured(text: str) -> list[dict[str, float]]:
    """The shares that a demo shows, one row for each state."""
    rows = [line.split() for line in text.splitlines() if line.startswith("served: listening ")]
    words = [[word for word in row[1:] if word != "|"] for row in rows]
    return [dict(zip(row[::2], map(float, row[1::2]), strict=True)) for row in words]


def replies(text: str, whom: str) -> list[str]:
    """What one of those that are asked says."""
    lines = text.splitlines()
    asked = [at for at, line in enumerate(lines) if line.startswith("> ")]
    said = [lines[at + 1].split(": ", 1) for at in asked]
    return [reply for name, reply in said if name == whom]


def told(text: str) -> list[str]:
    """What a demo says and types, without what differs from run to run."""
    return [line for line in text.splitlines() if line.startswith(("$ pvc", "# ", "> "))][:-1]


@pytest.mark.slow
def test_the_demo(tmp_path: Path, cache: dict[str, str]) -> None:
    done = spawn("demo", "first", cwd=tmp_path, env=cache, timeout=600)
    assert done.code == 0, done.err
    pairs = checksums(done.out)
    assert len(pairs) == 5
    assert all(left == right for left, right in pairs)
    assert len({left for left, _ in pairs}) == 3  # listening three times
    start, listening, negated, both, _, back = measured(done.out)
    assert listening["listening"] > 0.9
    assert negated["suggesting"] < 0.15 < start["suggesting"]
    assert min(both["listening"], both["polite"]) > 0.9
    assert all(min(row["core"], row["reverse"]) > 0.9 for row in (start, listening, negated, both))
    assert back == listening
    begun, _, rolled_back = replies(done.out, ENGINE)
    assert begun == rolled_back
    head, base = re.findall(rf"^engine {ENGINE}: tree (\w+), ", done.out, re.MULTILINE)
    assert f"(tree {head})" in done.out
    assert f"base {base}: " in done.out
    assert ": no damage" in done.out
    assert "Traceback" not in done.err

    status = spawn("-C", "first", "status", cwd=tmp_path)
    assert status.out.startswith("on main, ")
    assert "HEAD's tree; unchanged" in status.out

    began = time.monotonic()
    again = demo(tmp_path / "second", **cache)
    assert time.monotonic() - began < SOON_SECONDS
    assert again.code == 0
    assert checksums(again.out) == pairs
    assert told(again.out) == told(done.out)


@pytest.mark.slow
def test_the_demo_where_git_does_not_know_who_commits(
    tmp_path: Path, cache: dict[str, str]
) -> None:
    nobody = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_COUNT": "1"}
    only = {"GIT_CONFIG_KEY_0": "user.useConfigOnly", "GIT_CONFIG_VALUE_0": "true"}
    assert demo(tmp_path / "demo", **cache, **nobody, **only).code == 0


def test_a_directory_that_is_used_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for directory in (tmp_path, tmp_path / "mine.txt"):
        done = demo(directory)
        assert done.code == 2
        assert f"{directory} exists and is not empty; give another directory." in done.err
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_what_the_demo_types_is_there() -> None:
    programs = {line.split()[0] for _, *lines in STORY for line in lines}
    assert programs == {"pvc", "sha256sum", "ask", "measure", "share"}
