"""The known norms: a cache that can be lost, and that nobody has to believe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands.diff_trees import diff
from tests.repo.conftest import CREW
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.repository import Repository
    from tests.repo.conftest import Commit
    from tests.support.models import Model

NORM = "model.norm.weight"


def norms_file(repository: Repository) -> Path:
    (file,) = (repository.folder / "norms").iterdir()
    return file


def damaged(file: Path, how: str) -> None:
    document = json.loads(file.read_text())
    known = document["squares"]

    def saying(squares: object) -> str:
        return json.dumps(document | {"squares": squares})

    texts = {
        "empty": "",
        "no object": "[]",
        "no squares": saying(None),
        "no text": saying(known | {NORM: 1}),
        "too large": saying(known | {NORM: "0x1p99999"}),
        "another": saying(known | {NORM: "0x1p3"}),
        "no number": saying(known | {NORM: "x"}),
        "one less": saying({name: text for name, text in known.items() if name != NORM}),
        "unchecked": json.dumps({"squares": known | {NORM: "0x1p3"}}),
        "nested": '{"a":' * 100_000,
    }
    if how == "missing":
        file.unlink()
    else:
        file.write_text(texts[how])


HOW = ["empty", "no object", "no squares", "no text", "too large", "another", "no number"]
HOW += ["one less", "unchecked", "nested", "missing"]


@pytest.mark.parametrize("how", HOW)
def test_without_it_the_same_is_counted(
    repository: Repository, base_model: Model, do_commit: Commit, how: str
) -> None:
    after = models.tuned(base_model, 1, names=[NORM])
    known = do_commit("known", after, aside=True).vector.statistics
    damaged(norms_file(repository), how)
    again = do_commit("again", after, aside=True).vector.statistics
    assert again.amount == known.amount
    assert again.roles == known.roles
    row = diff(repository, "known", None, "role", CREW).total
    assert float(known.amount.from_norm) == pytest.approx(row.from_norm, rel=1e-8)
