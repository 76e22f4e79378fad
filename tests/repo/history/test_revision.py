"""What texts name, what history tells, and how two states differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc.codec import ChangeSums
from pvc.repo.commands.branches import (
    BranchAndTagError,
    create_branch,
    create_tag,
    delete_branch,
    delete_tag,
    switch,
)
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.diff_trees import MixedError, diff
from pvc.repo.commands.diff_vectors import relate
from pvc.repo.commands.groups import GROUPS
from pvc.repo.commands.init import initialise
from pvc.repo.commands.log import log, show
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.status import status
from pvc.repo.git import GitError, UnknownRevisionError
from pvc.repo.history.recording import DetachedError
from pvc.repo.history.revision import AmbiguousError, UnknownOperandError, resolve
from pvc.repo.repository import EditedError, Repository
from pvc.repo.snapshot import NotPvcError, NoVectorError
from pvc.repo.trees.blocks import BaseFiles, Blocks
from pvc.repo.trees.changes import compare
from pvc_store.memory import MemoryStore
from pvc_store.tree import Tree
from tests.repo.commands.test_round_trip import stored
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo.conftest import Commit
    from tests.support.models import Model


# Names


def test_what_texts_name(made: Repository) -> None:
    head = made.head()
    assert models.built(resolve(made, "base")).tree == head.config.base_tree
    assert (
        models.built(resolve(made, "listening")).tree == models.captured(head, "listening").to_tree
    )
    for text, tree in {
        "HEAD": models.captured(head, "suggesting").to_tree,
        "@": models.captured(head, "suggesting").to_tree,
        "main": models.captured(head, "suggesting").to_tree,
        "v1": models.captured(head, "listening").to_tree,
        "HEAD~2": models.captured(head, "listening").to_tree,
        head.commit[:8]: models.captured(head, "suggesting").to_tree,
        ":/listening": models.captured(head, "listening").to_tree,
        "HEAD^{/listening}": models.captured(head, "listening").to_tree,
        "quiet@main": models.captured(head, "quiet").to_tree,
        "quiet@HEAD": models.captured(head, "quiet").to_tree,
    }.items():
        assert models.built(resolve(made, text)).tree == tree, text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "^main",
        "--all",
        "-n1",
        "main..v1",
        "HEAD:pvc.toml",
        "a\nb",
        "a\0b",
        "v1^2",
        "quiet@",
        "quiet@nothing",
        "@{u}",
        "refs/heads/none",
        "\udce9",
        "main^{tree}",
    ],
)
def test_what_texts_do_not_name(made: Repository, text: str) -> None:
    with pytest.raises((UnknownRevisionError, UnknownOperandError)):
        resolve(made, text)


def test_a_vector_that_was_not_there_yet(made: Repository) -> None:
    with pytest.raises(NoVectorError) as caught:
        resolve(made, "quiet@v1")
    assert caught.value.name == "quiet"


def test_a_removed_vector_is_found_at_its_commit(made: Repository) -> None:
    vector = made.head().vector("quiet")
    remove(made, "quiet")
    with pytest.raises(UnknownRevisionError):
        resolve(made, "quiet")
    assert resolve(made, "quiet@HEAD~1").vector == ("quiet", vector)


def test_both_branch_and_vector(made: Repository) -> None:
    for create in (create_branch, create_tag):
        with pytest.raises(AmbiguousError):
            create(made, "quiet", "HEAD")
        with pytest.raises(AmbiguousError):
            create(made, "base", "HEAD")
    with pytest.raises(AmbiguousError):
        switch(made, "quiet", create=True)
    git(made.root, "branch", "quiet")  # git knows nothing of vectors
    for use in (resolve, show):
        with pytest.raises(AmbiguousError) as caught:
            use(made, "quiet")
        assert caught.value.name == "quiet"
    assert resolve(made, "quiet@HEAD").vector is not None
    assert resolve(made, "refs/heads/quiet").is_commit
    rename(made, "quiet", "calm")
    assert resolve(made, "calm").vector is not None


def test_no_name_is_branch_and_tag(made: Repository) -> None:
    refs = git(made.root, "for-each-ref")
    with pytest.raises(BranchAndTagError, match="There is a branch main already"):
        create_tag(made, "main", "HEAD")
    with pytest.raises(BranchAndTagError, match="There is a tag v1 already"):
        create_branch(made, "v1", "HEAD")
    with pytest.raises(BranchAndTagError):
        switch(made, "v1", create=True)
    assert git(made.root, "for-each-ref") == refs
    assert made.git.branch() == "main"


def test_a_commit_that_is_not_pvcs(made: Repository) -> None:
    git(made.root, "checkout", "-q", "--orphan", "empty")
    git(made.root, "rm", "-q", "-rf", ".")
    git(made.root, "commit", "-q", "--allow-empty", "-m", "empty")
    git(made.root, "checkout", "-q", "main")
    with pytest.raises(NotPvcError):
        models.built(resolve(made, "empty"))
    with pytest.raises(NotPvcError):
        checkout(made, "empty", DirectoryTarget(), keep_head=False, crew=CREW)
    assert made.git.branch() == "main"


# Branches and tags


def test_branches_and_tags(made: Repository) -> None:
    head = made.head().commit
    assert create_branch(made, "side", "v1") == made.git.find("v1")
    assert create_tag(made, "v2", "HEAD") == head
    assert dict(made.git.branches()).keys() == {"main", "side"}
    assert dict(made.git.tags()) == {"v1": made.git.find("v1"), "v2": head}
    assert switch(made, "side", create=False) == made.git.find("v1")
    with pytest.raises(GitError):
        delete_branch(made, "side", force=True)  # it is checked out
    switch(made, "main", create=False)
    delete_branch(made, "side", force=False)
    delete_tag(made, "v2")
    with pytest.raises(GitError):
        delete_branch(made, "side", force=True)
    with pytest.raises(GitError):
        delete_tag(made, "v2")
    for name in ("a b", "-x", "a..b", ""):
        with pytest.raises(GitError):
            create_branch(made, name, "HEAD")
    with pytest.raises(UnknownRevisionError):
        create_branch(made, "side", "nothing")


def test_annotated_tags_name_commits(made: Repository) -> None:
    git(made.root, "tag", "-a", "-m", "said", "said", "v1")
    assert dict(made.git.tags())["said"] == made.git.find("v1")


def test_a_branch_and_a_tag_of_one_name(made: Repository) -> None:
    """Git prefers the branch where HEAD is to move; weights and HEAD agree."""
    git(made.root, "branch", "twice", "v1")
    git(made.root, "tag", "twice", "main")
    checkout(made, "twice", DirectoryTarget(), keep_head=False, crew=CREW)
    assert (made.git.branch(), str(made.head().personality)) == ("twice", "base + listening")
    assert resolve(made, "twice").state.commit == made.git.head()


def test_switch(made: Repository) -> None:
    file = made.root / "personality.toml"
    file.write_text(file.read_text() + "# mine\n")
    with pytest.raises(EditedError):
        switch(made, "side", create=True, start="v1")
    switch(made, "side", create=True)  # edits come along, as with git
    assert made.edited() == ("personality.toml",)
    with pytest.raises(EditedError):
        switch(made, "main", create=False)
    git(made.root, "checkout", "-q", "--", ".")
    for name in ("nothing", "v1", "HEAD~1"):
        with pytest.raises(UnknownRevisionError):
            switch(made, name, create=False)
    assert made.git.branch() == "side"


# History


def test_log(made: Repository) -> None:
    (made.root / "notes.txt").write_text("mine")
    git(made.root, "add", ".")
    git(made.root, "commit", "-q", "-m", "not of pvc")
    remove(made, "quiet")
    told = [
        (event.entry.subject, str(event.personality), [(v.name, v.action) for v in event.vectors])
        for event in log(made, None, None)
    ]
    both = "base + listening + suggesting"
    assert told == [
        ("Remove quiet", both, [("quiet", "removed")]),
        ("quiet: captured", both, [("quiet", "added")]),
        ("suggesting: captured", both, [("suggesting", "added")]),
        ("listening: captured", "base + listening", [("listening", "added")]),
        ("Start from base", "base", []),
    ]
    assert [event.entry.subject for event in log(made, None, 2)] == [told[0][0], told[1][0]]
    assert [event.entry.subject for event in log(made, "v1", None)] == [told[3][0], told[4][0]]
    assert [event.entry.subject for event in log(made, "quiet", None)] == [told[0][0], told[1][0]]
    with pytest.raises(UnknownRevisionError):
        log(made, "nothing", None)
    entry = next(log(made, "v1", 1)).entry
    assert entry.commit == made.git.find("v1")
    assert (entry.author, entry.refs) == ("Somebody", "tag: v1")


def test_odd_messages_do_not_confuse_the_log(made: Repository) -> None:
    for subject in ("A", "\x01M\x01", "a\tb", "", "M\n\npvc.toml"):
        file = made.root / "personality.toml"
        file.write_text(file.read_text() + "#\n")
        arguments = ["-q", "--allow-empty-message", "--cleanup=verbatim", "-am", subject]
        git(made.root, "commit", *arguments)
    subjects = [event.entry.subject for event in log(made, None, None)]
    assert subjects[:5] == ["M", "", "a\tb", "\x01M\x01", "A"]
    assert len(subjects) == 9


def test_show(made: Repository) -> None:
    head = made.head()
    shown = show(made, "HEAD")
    assert shown.noted
    assert shown.built == models.built(head)
    assert shown.event is not None
    assert shown.event.entry.commit == head.commit
    shown = show(made, "listening")
    assert shown.event is not None
    assert shown.event.entry.subject == "listening: captured"
    assert (show(made, "base").event, show(made, "suggesting").built) == (None, None)


def test_status_of_a_detached_head(made: Repository, tmp_path: Path) -> None:
    checkout(made, "v1", DirectoryTarget(tmp_path / "out"), keep_head=False, crew=CREW)
    found = status(made)
    assert (found.branch, found.commit) == (None, made.git.find("v1"))
    assert found.targets[0].is_head
    assert (found.base_present, found.interrupted) == (True, False)
    with pytest.raises(DetachedError):
        remove(made, "listening")


# Differences


def test_operands(made: Repository) -> None:
    for before, after, names, changed in [
        (None, None, ("base", "HEAD"), True),
        ("v1", None, ("v1", "HEAD"), True),
        ("v1", "main~2", ("v1", "main~2"), False),
        ("suggesting", None, ("where suggesting starts", "suggesting"), True),
        ("base", "v1", ("base", "v1"), True),
    ]:
        found = diff(made, before, after, "role", CREW)
        assert (found.before, found.after) == names
        assert (found.total.changed_blocks > 0) == changed
    for before, after in [("listening", "v1"), ("base", "quiet"), (None, "quiet")]:
        with pytest.raises(MixedError) as caught:
            diff(made, before, after, "role", CREW)
        assert caught.value.vector in {"listening", "quiet"}
    for before, after in [("listening", "quiet"), ("listening", "listening")]:
        related = relate(made, before, after, "role", CREW)
        assert related is not None
        assert (related.a, related.b) == (before, after)


def test_groups(made: Repository) -> None:
    labels = {
        group: [row.label for row in diff(made, None, None, group, CREW).rows] for group in GROUPS
    }
    assert labels == {
        "role": ["down", "embed", "norm", "q"],
        "layer": ["0", "1", "other"],
        "tensor": sorted(models.SHAPES),
    }
    for group in GROUPS:
        found = diff(made, None, None, group, CREW)
        assert sum(row.elements for row in found.rows) == found.total.elements
        assert sum(row.tensors for row in found.rows) == len(models.SHAPES)


def test_layers_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    shapes = {f"model.layers.{at}.mlp.up_proj.weight": (4, 4) for at in (0, 2, 10)}
    start = models.model(shapes=shapes)
    (tmp_path / "new").mkdir()
    initialise(tmp_path / "new", models.save(tmp_path / "b", start), by_value=True, crew=CREW)
    with Repository.open(tmp_path / "new") as repository:
        source = models.save(tmp_path / "a", models.tuned(start, 1, names=[max(shapes)]))
        commit(repository, Wish("one"), CheckpointSource(source), CREW)
        rows = diff(repository, None, None, "layer", CREW).rows
        assert [row.label for row in rows] == ["0", "2", "10"]
        assert [row.changed_tensors for row in rows] == [0, 1, 0]


def test_tensors_that_only_one_tree_has(tmp_path: Path) -> None:
    """Between two bases, say: each sort is told, and has no tau."""
    store = MemoryStore()
    trees = []
    both: list[dict[str, tuple[int, ...]]] = [
        {"a": (4,), "b": (4,), "c": (8,)},
        {"b": (2, 2), "c": (8,), "d": (3,)},
    ]
    for number, shapes in enumerate(both):
        source = models.save(tmp_path / str(number), models.model(shapes=shapes), files={})
        trees.append(stored(store, source, Tree([])).tree)
    with Blocks(store, trees[0], BaseFiles(None)) as blocks:
        found = {each.tensor.name: each for each in compare(trees[0], trees[1], blocks, CREW)}
    assert {name: each.sort for name, each in found.items()} == {
        "a": "removed", "b": "reshaped", "c": "changed", "d": "added",
    }  # fmt: skip
    for name, elements in {"a": 4, "b": 4, "d": 3}.items():
        assert found[name].change == ChangeSums(elements, elements)
        assert found[name].changed_blocks == 1


def test_another_dtype_is_measured_by_value(
    repository: Repository, base_model: Model, do_commit: Commit
) -> None:
    wide = models.widened(base_model)
    do_commit("wide", wide)
    found = diff(repository, None, None, "role", CREW).total
    assert (found.changed_elements, found.tau_norm, found.changed_blocks) == (0, 0.0, 0)
    moved = wide | {"model.norm.weight": models.tensor(np.ones(64), "F32")}
    do_commit("moved", moved, onto="HEAD")
    assert diff(repository, None, None, "role", CREW).total.changed_elements == 64
    back = diff(repository, "HEAD", "base", "role", CREW).total
    assert back.changed_elements == 64
    assert back.tau_norm == diff(repository, None, None, "role", CREW).total.tau_norm
