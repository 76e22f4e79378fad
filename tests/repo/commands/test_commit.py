"""What a commit makes of a training result, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc.repo.commands.branches import create_branch, create_tag, switch
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import NonFiniteError, Wish, commit
from pvc.repo.commands.commit_action import AppliedError, ContainedError
from pvc.repo.commands.commit_edits import commit_edits
from pvc.repo.commands.commit_origin import OtherTreeError, Told
from pvc.repo.commands.commit_source import CheckpointSource, OtherBaseError
from pvc.repo.commands.init import initialise
from pvc.repo.commands.rename import rename
from pvc.repo.commands.same_weights import SameWeightsError
from pvc.repo.commands.status import status
from pvc.repo.history.notes import read_note
from pvc.repo.history.recording import DetachedError, NothingChangedError
from pvc.repo.history.revision import AmbiguousError
from pvc.repo.personality.personality_file import Term
from pvc.repo.personality.vector_names import VectorNameError
from pvc.repo.repository import EditedError, Repository
from pvc.weights.errors import CheckpointError
from pvc.weights.folder import PickleError
from tests.repo.conftest import CREW, git, is_unchanged
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo.conftest import Commit
    from tests.support.models import Model

NORM = "model.norm.weight"


def test_a_first_vector(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    before = repository.head()
    done = do_commit("listening", models.tuned(base_model, 1), message="twenty examples")
    assert (done.action, done.applied, done.origin_text) == ("captured", True, "base")
    assert str(done.personality) == "base + listening"
    head = repository.head()
    assert (head.commit, head.personality) == (done.commit, done.personality)
    assert head.vector("listening") == done.vector
    assert done.vector.from_tree == done.vector.base == before.config.base_tree
    provenance = {"message": "twenty examples", "origin": str(tmp_path / "out-listening")}
    assert dict(done.vector.provenance) == provenance
    assert read_note(repository, done.commit) == models.built(head)
    entry, _ = next(repository.git.log(["-n", "1"]))
    assert entry.subject == "twenty examples"
    assert repository.edited() == ()


def test_aside(repository: Repository, base_model: Model, do_commit: Commit) -> None:
    done = do_commit("listening", models.tuned(base_model, 1), aside=True)
    assert not done.applied
    assert str(repository.head().personality) == "base"
    assert status(repository).aside == ("listening",)
    noted = read_note(repository, done.commit)
    assert noted is not None
    assert noted.tree == done.vector.base
    # applied later, by hand
    file = repository.root / "personality.toml"
    file.write_text(file.read_text() + '\n[[term]]\nvector = "listening"\n')
    commit_edits(repository, "apply it")
    assert models.built(repository.head()).tree == done.vector.to_tree


def test_aside_of_a_term_is_refused(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    do_commit("listening", models.tuned(base_model, 1))
    with pytest.raises(AppliedError) as caught:
        do_commit("listening", models.tuned(base_model, 2), aside=True, onto="base")
    assert caught.value.name == "listening"


def test_replaced(repository: Repository, base_model: Model, do_commit: Commit) -> None:
    first = do_commit("listening", models.tuned(base_model, 1))
    second = do_commit("listening", models.tuned(base_model, 2), onto="base")
    assert second.action == "replaced"
    assert str(second.personality) == "base + listening"
    assert second.vector.from_tree == second.vector.base
    assert models.built(repository.head()).tree == second.vector.to_tree
    assert models.captured(repository.head(), "listening").to_tree != first.vector.to_tree


def test_replaced_without_being_told_since_both_origins_come_to_the_same(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    do_commit("listening", models.tuned(base_model, 1))
    source = models.tuned(base_model, 2)
    done = do_commit("listening", source)
    assert (done.action, done.told, done.is_result) == ("replaced", Told.SAME, True)
    git(repository.root, "reset", "-q", "--hard", "HEAD~1")
    again = do_commit("listening", source, onto="HEAD")
    assert again.action == "extended"
    assert again.vector.link == done.vector.link


def test_extended_by_saying_so(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    half = models.tuned(base_model, 1)
    first = do_commit("listening", half)
    done = do_commit("listening", models.tuned(half, 2), onto="HEAD")
    assert done.action == "extended"
    assert done.vector.from_tree == first.vector.from_tree
    assert str(done.personality) == "base + listening"


def test_extended_only_if_it_is_the_last_step(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    half = models.tuned(base_model, 1)
    whole = models.tuned(half, 2)
    do_commit("listening", half)
    do_commit("suggesting", whole, onto="HEAD")
    with pytest.raises(ContainedError) as caught:
        do_commit("listening", models.tuned(whole, 3), onto="HEAD")
    assert caught.value.name == "listening"
    done = do_commit("suggesting", models.tuned(whole, 3), onto="HEAD")
    assert done.action == "extended"
    assert done.vector.from_tree == models.captured(repository.head(), "listening").to_tree


def test_extended_again_and_again_in_a_target(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    """Aside, the target remembers by itself which vectors led to what it holds."""
    out = tmp_path / "out"
    checkout(repository, "base", DirectoryTarget(out), keep_head=True, crew=CREW)
    now = base_model
    for number, action in enumerate(["captured", "extended", "extended"]):
        now = models.tuned(now, number)
        models.save(out, now)
        done = do_commit("listening", out, aside=True)
        assert (done.action, done.vector.from_tree) == (action, done.vector.base)
        (target,) = repository.targets.all()
        assert (target.tree, target.terms) == (done.vector.to_tree, (Term("listening"),))
        assert is_unchanged(target)
    models.save(out, models.tuned(now, 9))
    done = do_commit("suggesting", out, aside=True)
    assert done.vector.from_tree == models.captured(repository.head(), "listening").to_tree


def test_extended_in_a_target_after_a_rename(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    half = models.tuned(base_model, 1)
    do_commit("listening", half)
    checkout(repository, "HEAD", DirectoryTarget(out), keep_head=False, crew=CREW)
    rename(repository, "listening", "hearing")
    models.save(out, models.tuned(half, 2))
    assert do_commit("hearing", out).action == "extended"


def test_a_target_at_another_tree(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    half = models.tuned(base_model, 1)
    do_commit("listening", half)
    out = tmp_path / "out"
    checkout(repository, "base", DirectoryTarget(out), keep_head=True, crew=CREW)
    models.save(out, models.tuned(base_model, 2))
    with pytest.raises(OtherTreeError) as caught:
        do_commit("suggesting", out)
    assert (caught.value.where, caught.value.revision) == (str(out), "base")
    done = do_commit("suggesting", out, aside=True)
    assert done.vector.from_tree == done.vector.base
    with pytest.raises(OtherTreeError):
        do_commit("third", out)


def test_a_target_reached_by_a_link(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    half = models.tuned(base_model, 1)
    do_commit("listening", half)
    out = tmp_path / "out"
    checkout(repository, "HEAD", DirectoryTarget(out), keep_head=True, crew=CREW)
    (tmp_path / "link").symlink_to(out)
    models.save(out, models.tuned(half, 2))
    assert do_commit("listening", tmp_path / "link").action == "extended"


def test_frozen_parts_of_head(repository: Repository, base_model: Model, do_commit: Commit) -> None:
    half = models.tuned(base_model, 1)
    do_commit("listening", half)
    after = models.tuned(half, 2, names=[NORM])
    done = do_commit("suggesting", after)
    assert (done.told, done.origin_text, done.is_result) == (Told.BITS, "HEAD", True)
    assert done.evidence is not None
    assert (done.evidence.whole_base, done.evidence.side) == (0, "HEAD")
    git(repository.root, "reset", "-q", "--hard", "HEAD~1")
    said = do_commit("suggesting", after, onto="HEAD")
    counted = replace(said.vector.statistics, stored_bytes=done.vector.statistics.stored_bytes)
    assert replace(said.vector, statistics=counted) == done.vector  # its norms, too
    assert said.told is Told.USER


def test_beside_head_it_is_a_sum(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    do_commit("listening", models.tuned(base_model, 1))
    other = models.tuned(base_model, 2, names=[NORM])
    done = do_commit("suggesting", other)
    assert (done.told, done.origin_text, done.is_result) == (Told.BITS, "base", False)
    assert str(done.personality) == "base + listening + suggesting"
    assert repository.head().formula.exact is None
    assert read_note(repository, done.commit) is None


def test_onto_a_vector_or_an_older_state(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    one = models.tuned(base_model, 1)
    two = models.tuned(one, 2)
    first = do_commit("one", one)
    second = do_commit("two", two, onto="HEAD")
    create_tag(repository, "v1", "HEAD~1")
    for number, onto in enumerate(["one", "v1", "one@v1"]):
        made = do_commit(f"aside{number}", models.tuned(one, 9 + number), onto=onto, aside=True)
        assert made.vector.from_tree == first.vector.to_tree
    made = do_commit("three", models.tuned(two, 4), onto="two", aside=True)
    assert made.vector.from_tree == second.vector.to_tree


def test_nothing_changed(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    with pytest.raises(NothingChangedError):
        do_commit("listening", base_model)
    after = models.tuned(base_model, 1)
    do_commit("listening", after)
    head = repository.head().commit
    for options in ({}, {"onto": "base"}, {"onto": "HEAD"}):
        with pytest.raises(NothingChangedError):
            do_commit("listening", after, **options)
    assert repository.head().commit == head


def test_other_files_alone(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    """The same weights with another configuration: the vector keeps its trees."""
    after = models.tuned(base_model, 1)
    first = do_commit("listening", after)
    out = tmp_path / "out"
    checkout(repository, "HEAD", DirectoryTarget(out), keep_head=False, crew=CREW)
    (out / "config.json").write_text('{"new": true}')
    with pytest.raises(SameWeightsError) as caught:
        do_commit("suggesting", out)
    assert caught.value.files == ("config.json",)
    done = do_commit("listening", out)
    assert done.action == "extended"
    assert (done.vector.from_tree, done.vector.to_tree) == (
        first.vector.from_tree,
        first.vector.to_tree,
    )
    checkout(repository, "HEAD~1", DirectoryTarget(), keep_head=False, crew=CREW)
    assert models.contents(out) == models.contents(tmp_path / "out-listening")
    checkout(repository, "main", DirectoryTarget(), keep_head=False, crew=CREW)
    assert (out / "config.json").read_text() == '{"new": true}'


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path, value: float
) -> None:
    broken = models.tuned(base_model, 1)
    numbers = models.numbers(broken[NORM]).copy()
    numbers[3] = value
    broken[NORM] = models.tensor(numbers, "F32" if np.isnan(value) else "BF16")
    with pytest.raises(NonFiniteError) as caught:
        do_commit("broken", broken)
    assert caught.value.names == (NORM,)
    done = do_commit("broken", broken, allow_nonfinite=True)
    assert np.isfinite(float(done.vector.statistics.amount.tau_norm))
    checkout(repository, "HEAD", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    assert models.contents(tmp_path / "out") == models.contents(tmp_path / "out-broken")
    # and what is not new is not complained of
    worse = models.tuned(broken, 2, names=["model.layers.0.mlp.down_proj.weight"])
    assert do_commit("worse", worse, onto="HEAD").action == "captured"


def test_other_base(repository: Repository, do_commit: Commit) -> None:
    other = models.model(1, shapes={"a": (2,), "b": (2,), "c": (2,), "d": (2,)})
    with pytest.raises(OtherBaseError) as caught:
        do_commit("other", other)
    assert [each.name for each in caught.value.differences] == ["a", "b", "c"]
    assert caught.value.renamed is None


def test_other_names_are_guessed(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    wrapped = {f"base_model.{name}": raw for name, raw in base_model.items()}
    with pytest.raises(OtherBaseError) as caught:
        do_commit("other", wrapped)
    assert caught.value.renamed is not None
    old, new = caught.value.renamed
    assert new == f"base_model.{old}"


@pytest.mark.parametrize("change", ["narrower", "shape", "missing"])
def test_other_tensors(
    repository: Repository, base_model: Model, do_commit: Commit, change: str
) -> None:
    after = dict(base_model)
    if change == "narrower":
        after[NORM] = models.Raw("U8", (64,), bytes(64))
    elif change == "shape":
        after[NORM] = models.tensor(np.zeros((32, 2)), "BF16")
    else:
        del after[NORM]
    with pytest.raises(OtherBaseError) as caught:
        do_commit("other", after)
    assert [each.name for each in caught.value.differences] == [NORM]


def test_edited(repository: Repository, base_model: Model, do_commit: Commit) -> None:
    file = repository.root / "personality.toml"
    file.write_text(file.read_text() + "# mine\n")
    with pytest.raises(EditedError) as caught:
        do_commit("listening", models.tuned(base_model, 1))
    assert caught.value.paths == ("personality.toml",)
    (repository.root / "vectors").mkdir()
    (repository.root / "vectors" / "new.json").write_text("{}")
    with pytest.raises(EditedError) as caught:
        do_commit("listening", models.tuned(base_model, 1))
    assert caught.value.paths == ("personality.toml", "vectors/new.json")


def test_pickles(repository: Repository, do_commit: Commit, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(PickleError):
        do_commit("old", tmp_path / "old")
    with pytest.raises(CheckpointError):
        do_commit("gone", tmp_path / "gone")


def test_detached(repository: Repository, base_model: Model, do_commit: Commit) -> None:
    repository.git.run("checkout", "-q", "--detach")
    with pytest.raises(DetachedError):
        do_commit("listening", models.tuned(base_model, 1))
    switch(repository, "work", create=True)
    assert do_commit("listening", models.tuned(base_model, 1)).applied


def test_names(repository: Repository, base_model: Model, do_commit: Commit) -> None:
    create_branch(repository, "listening", "HEAD")
    create_tag(repository, "v1", "HEAD")
    for name in ("listening", "v1"):
        with pytest.raises(AmbiguousError) as caught:
            do_commit(name, models.tuned(base_model, 1))
        assert caught.value.name == name
    for name in ("base", "HEAD", "a-b", "a b", "1a", "", "a/b", "a.lock", "a..b", "é", "x" * 101):
        with pytest.raises(VectorNameError):
            do_commit(name, models.tuned(base_model, 1))
    assert repository.head().names == ()


@pytest.mark.parametrize("message", ["two\nlines\n\nand more", "a\x01b", "-m", '"q" é'])
def test_messages_stay_as_they_are(
    repository: Repository, base_model: Model, do_commit: Commit, message: str
) -> None:
    do_commit("listening", models.tuned(base_model, 1, names=[NORM]), message=message)
    said = git(repository.root, "log", "-n", "1", "--format=%B")
    assert said.rstrip("\n") == message.rstrip("\n")
    assert dict(repository.head().vector("listening").provenance)["message"] == message


def test_a_message_that_is_no_text(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    """What a shell gives where the bytes are not UTF-8."""
    do_commit("listening", models.tuned(base_model, 1, names=[NORM]), message="caf\udce9")
    assert repository.head().vector("listening").provenance


def test_tells_of_rounding(repository: Repository, base_model: Model, do_commit: Commit) -> None:
    assert do_commit("real", models.tuned(base_model, 1), aside=True).rounded_share is None
    tiny = models.tuned(base_model, 1, step=1e-6)
    share = do_commit("tiny", tiny, aside=True).rounded_share
    assert share is not None
    assert 0 < share < 0.2


def test_left_out_is_told(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    source = models.save(tmp_path / "new", models.tuned(base_model, 1))
    (source / "optimizer.pt").write_bytes(b"pickle")
    (source / "checkpoint-10").mkdir()
    done = do_commit("listening", source)
    assert [(each.path, each.reason) for each in done.left_out] == [
        ("checkpoint-10", "checkpoint"),
        ("optimizer.pt", "pickle"),
    ]
    checkout(repository, "HEAD", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    assert "optimizer.pt" not in models.contents(tmp_path / "out")


def test_a_tensor_beyond_float64(tmp_path: Path) -> None:
    """Squares of large F64 numbers overflow; that is no reason to fail."""
    start = {name: models.tensor(np.full(1, 1e154), "F64") for name in ("a", "b", "c")}
    after = {name: models.tensor(np.full(1, -1e150), "F64") for name in ("a", "b", "c")}
    (tmp_path / "new").mkdir()
    initialise(tmp_path / "new", models.save(tmp_path / "big", start), by_value=True, crew=CREW)
    with Repository.open(tmp_path / "new") as repository:
        source = models.save(tmp_path / "after", after)
        done = commit(repository, Wish("big"), CheckpointSource(source), CREW)
        assert done.vector.statistics.amount.from_norm == "inf"
        assert repository.head().vector("big") == done.vector
