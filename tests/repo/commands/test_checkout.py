"""Where a checkout writes to, what it leaves alone, and where HEAD goes."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands.branches import create_branch, switch
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import (
    DirectoryTarget,
    ForeignDirectoryError,
    SeveralTargetsError,
)
from pvc.repo.commands.status import status
from pvc.repo.git import GitError, UnknownRevisionError
from pvc.repo.history.journal import JournalFile
from pvc.repo.history.revision import UnknownOperandError
from pvc.repo.personality.expression import ExpressionError
from pvc.repo.repository import EditedError, Repository
from pvc.repo.targets import weights_file as outfile_module
from pvc.repo.targets.directory import DriftedError, InTheWayError, NoSpaceError
from pvc.repo.targets.directory_record import DirectoryRecords
from pvc.repo.targets.open_directory import OpenDirectory, ReplacedError
from pvc.repo.targets.write_and_verify import VerificationError
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.repo.commands.checkout import CheckedOut
    from tests.repo.conftest import Commit
    from tests.support.models import Model

NORM = "model.norm.weight"


def go(repository: Repository, text: str, to: Path | None = None) -> CheckedOut:
    return checkout(repository, text, DirectoryTarget(to), keep_head=False, crew=CREW)


def test_head_moves_as_git_moves_it(made: Repository, tmp_path: Path) -> None:
    out = tmp_path / "out"
    create_branch(made, "side", "HEAD~1")
    commits = {name: made.git.find(name) for name in ("main", "side", "v1", "main~2")}
    for name, branch in [
        ("v1", None), ("side", "side"), ("main~2", None), ("main", "main"), ("HEAD", "main"),
        ("@~1", None), ("HEAD", None), ("main", "main"),
    ]:  # fmt: skip
        expected = commits.get(name) or made.git.find(name)
        done = go(made, name, out)
        assert done.head_moved
        assert (made.git.branch(), made.git.head()) == (branch, expected)
        assert made.edited() == ()
        assert made.targets.all()[0].tree == models.built(made.head()).tree


def test_head_stays_for_vectors_the_base_and_if_asked(made: Repository, tmp_path: Path) -> None:
    out, head = tmp_path / "out", made.git.head()
    for name in ("listening", "base", "listening@HEAD~1"):
        assert not go(made, name, out).head_moved
        assert (made.git.branch(), made.git.head()) == ("main", head)
    assert not checkout(made, "v1", DirectoryTarget(out), keep_head=True, crew=CREW).head_moved
    assert made.git.head() == head
    assert not status(made).targets[0].is_head


def test_without_a_target_only_head_moves(made: Repository) -> None:
    done = go(made, "v1")
    assert (done.directory, done.head_moved, done.written_bytes) == (None, True, 0)
    assert str(made.head().personality) == "base + listening"
    assert made.targets.all() == []


def test_a_vector_that_does_not_start_at_the_base(made: Repository, tmp_path: Path) -> None:
    done = go(made, "suggesting", tmp_path / "out")
    assert done.revision.terms is None
    assert done.built.tree != models.captured(made.head(), "suggesting").to_tree


def test_unknown(made: Repository, tmp_path: Path) -> None:
    with pytest.raises(UnknownRevisionError):
        go(made, "nothing", tmp_path / "out")
    for expression in ("base + nothing", "0.5*nothing"):
        with pytest.raises(UnknownOperandError):
            go(made, expression, tmp_path / "out")
    for expression in ("base +", "base + base", "2*base"):
        with pytest.raises(ExpressionError):
            go(made, expression, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_edits_keep_head_from_moving(made: Repository, tmp_path: Path) -> None:
    file = made.root / "personality.toml"
    edited = file.read_text() + "# mine\n"
    file.write_text(edited)
    with pytest.raises(EditedError):
        go(made, "v1", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert go(made, "listening", tmp_path / "out").created
    assert (
        checkout(
            made, "v1", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW
        ).written_bytes
        == 0
    )
    assert file.read_text() == edited


def test_what_git_refuses_changes_nothing(made: Repository, tmp_path: Path) -> None:
    """A file of the user's is in the way of the other branch's: git says so at the very end."""
    git(made.root, "checkout", "-q", "-b", "other", "v1")
    (made.root / "notes.txt").write_text("theirs")
    git(made.root, "add", ".")
    git(made.root, "commit", "-q", "-m", "notes")
    git(made.root, "checkout", "-q", "main")
    out = tmp_path / "out"
    go(made, "main", out)
    before, head = models.contents(out), made.git.head()
    (made.root / "notes.txt").write_text("mine")
    with pytest.raises(GitError, match=r"notes\.txt"):
        go(made, "other")
    assert models.contents(out) == before
    assert (made.git.head(), made.git.branch()) == (head, "main")
    found = status(made)
    assert (found.targets[0].state, found.interrupted) == ("clean", False)


# Directories


def test_new_directories_are_created_below_new_ones(
    sources: dict[str, Path], made: Repository, tmp_path: Path
) -> None:
    done = go(made, "main", tmp_path / "a" / "b" / "out")
    assert done.created
    assert models.contents(tmp_path / "a").keys() == {
        f"b/out/{name}" for name in models.contents(sources["suggesting"])
    }  # nothing temporary is left


def test_an_empty_directory_is_used(
    sources: dict[str, Path], made: Repository, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    assert go(made, "main", tmp_path / "out").created
    assert models.contents(tmp_path / "out") == models.contents(sources["suggesting"])


def in_the_way_file(path: Path) -> None:
    path.write_bytes(b"mine")


def in_the_way_directory(path: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_bytes(b"mine")


def in_the_way_socket(path: Path) -> None:
    os.mkfifo(path)


def untouched(path: Path) -> tuple[int, ...]:
    """All that changes if somebody writes to it; looking at a directory may change its atime."""
    found = path.lstat()
    return (
        found.st_mode,
        found.st_ino,
        found.st_nlink,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


@pytest.mark.parametrize("make", [in_the_way_file, in_the_way_directory, in_the_way_socket])
@pytest.mark.parametrize("known", [False, True])
def test_what_is_not_ours_is_left_untouched(
    made: Repository, tmp_path: Path, make: Callable[[Path], None], known: bool
) -> None:
    out = tmp_path / "out"
    if known:
        go(made, "v1", out)
        shutil.rmtree(out)
    make(out)
    before = untouched(out)
    with pytest.raises((ForeignDirectoryError, ReplacedError)):
        go(made, "main", out)
    assert untouched(out) == before
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


def test_a_dangling_link(sources: dict[str, Path], made: Repository, tmp_path: Path) -> None:
    """It names the directory that is to be: that is where the weights go."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert go(made, "main", tmp_path / "link").directory == tmp_path / "real"
    assert (tmp_path / "link" / "config.json").exists()
    assert go(made, "v1", tmp_path / "link").written_bytes > 0
    assert models.contents(tmp_path / "real") == models.contents(sources["listening"])


def test_long_names(made: Repository, first: Model, do_commit: Commit, tmp_path: Path) -> None:
    """As long as a file system takes them; what is written first has a name of its own."""
    files = {"é" * 127: b"1", "x" * 255: b"2", "字" * 80 + "/" + "字" * 85: b"3"}
    source = models.save(tmp_path / "new", models.tuned(first, 7), files=files)
    do_commit("third", source, onto="base", aside=True)
    out = tmp_path / ("字" * 85)
    go(made, "third", out)
    go(made, "listening", out)
    go(made, "third", out)
    assert models.contents(out) == models.contents(source)


def test_a_target_that_was_removed_is_made_again(
    sources: dict[str, Path], made: Repository, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    go(made, "main", out)
    shutil.rmtree(out)
    assert status(made).targets[0].state == "missing"
    assert go(made, "v1").created
    assert models.contents(out) == models.contents(sources["listening"])


def test_within_the_working_tree_git_ignores_it(made: Repository, tmp_path: Path) -> None:
    out = made.root / "served [1]* \\a !"
    go(made, "main", out)
    assert git(made.root, "status", "--porcelain") == ""
    go(made, "v1", out)
    assert git(made.root, "status", "--porcelain") == ""
    exclude = (made.root / ".git" / "info" / "exclude").read_text()
    assert exclude.count("served") == 1


def test_users_own_ignored_files_stay_ignored(made: Repository) -> None:
    exclude = made.root / ".git" / "info" / "exclude"
    exclude.write_bytes(b"caf\xe9.txt\nlast")
    go(made, "main", made.root / "served")
    assert exclude.read_bytes() == b"caf\xe9.txt\nlast\n/served/\n"


def test_several_targets(made: Repository, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    go(made, "v1", one)
    go(made, "main", two)
    with pytest.raises(SeveralTargetsError) as caught:
        go(made, "v1")
    assert caught.value.paths == (one, two)
    assert made.git.branch() == "main"
    go(made, "v1", two)
    assert models.contents(one) == models.contents(two)
    found = {target.path: target.is_head for target in status(made).targets}
    assert found == {one: True, two: True}
    shutil.rmtree(one)
    assert go(made, "main").directory == two  # the only one that is there
    shutil.rmtree(two)
    with pytest.raises(SeveralTargetsError):
        go(made, "v1")


# Targets in which something changed


def drift_tensor(out: Path) -> None:
    file = out / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def drift_header(out: Path) -> None:
    file = out / "model.safetensors"
    data = bytearray(file.read_bytes())
    at = data.index(b"pt")
    data[at : at + 2] = b"np"
    file.write_bytes(data)


def drift_config(out: Path) -> None:
    (out / "config.json").write_text("{}")


def drift_missing(out: Path) -> None:
    (out / "templates" / "chat.jinja").unlink()


def drift_truncated(out: Path) -> None:
    os.truncate(out / "model.safetensors", 1000)


def drift_link(out: Path) -> None:
    (out / "config.json").rename(out / "real.json")
    (out / "config.json").symlink_to("real.json")


@pytest.mark.parametrize(
    ("drift", "name"),
    [
        (drift_tensor, NORM),
        (drift_header, "model.safetensors"),
        (drift_config, "config.json"),
        (drift_missing, "templates/chat.jinja"),
        (drift_truncated, "model.safetensors"),
        (drift_link, "config.json"),
    ],
)
def test_drift_is_named_and_kept(
    made: Repository, tmp_path: Path, drift: Callable[[Path], None], name: str
) -> None:
    out = tmp_path / "out"
    go(made, "main", out)
    drift(out)
    before = models.contents(out)
    with pytest.raises(DriftedError) as caught:
        go(made, "v1")
    assert (caught.value.path, caught.value.names) == (out, (name,))
    assert name in str(caught.value)
    assert models.contents(out) == before
    assert made.git.branch() == "main"
    found = status(made).targets[0]
    assert found.state == "changed"
    assert len(found.changed) == 1


def test_touching_is_no_drift(sources: dict[str, Path], made: Repository, tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(made, "main", out)
    for path in out.rglob("*"):
        os.utime(path, ns=(1, 1))
    assert status(made).targets[0].state == "changed"  # stamps say so; a checkout looks closer
    go(made, "v1")
    assert models.contents(out) == models.contents(sources["listening"])


def test_files_of_the_users_stay(made: Repository, tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(made, "main", out)
    (out / "notes.txt").write_text("mine")
    (out / "templates" / "mine.jinja").write_text("mine")
    go(made, "v1")
    go(made, "main")
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "templates" / "mine.jinja").read_text() == "mine"
    assert status(made).targets[0].state == "clean"


def test_hard_links_keep_what_they_held(
    sources: dict[str, Path], made: Repository, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    go(made, "main", out)
    os.link(out / "model.safetensors", tmp_path / "copy")
    before = (tmp_path / "copy").read_bytes()
    go(made, "v1")
    assert (tmp_path / "copy").read_bytes() == before
    assert models.contents(out) == models.contents(sources["listening"])


# Layouts that change in place

OTHER_FILES = {
    "config.json": b'{"model_type": "tiny", "more": 1}\n',
    "tokenizer.json": models.FILES["tokenizer.json"],
    "new/deep/file.txt": b"new",
    "templates": b"a file where a folder was",
}
LAYOUTS = {
    "as before": {},
    "config changed": {"files": models.FILES | {"config.json": b"{}"}},
    "files added and removed": {"files": OTHER_FILES},
    "header longer": {"padding": 3},
    "order": {"order": sorted(models.SHAPES, reverse=True)},
    "sharded": {"shards": 2},
    "sharded otherwise": {"shards": 3, "order": sorted(models.SHAPES, reverse=True)},
}


def test_any_layout_becomes_any_other(
    repository: Repository,
    first: Model,
    do_commit: Commit,
    tmp_path: Path,
) -> None:
    saved = {}
    for number, (name, options) in enumerate(LAYOUTS.items()):
        what = models.tuned(first, number, names=[NORM])
        source = models.save(tmp_path / name, what, **options)  # type: ignore[arg-type]
        do_commit(f"v{number}", source, onto="base", aside=True)
        saved[f"v{number}"] = models.contents(source)
    out = tmp_path / "out"
    names = list(saved)
    walk = [names[0]]
    for step in (1, 2, 3):  # each layout after several others
        walk += [names[at * step % len(names)] for at in range(1, len(names) + 1)]
    for name in walk:
        go(repository, name, out)
        assert models.contents(out) == saved[name]
    assert status(repository).targets[0].state == "clean"


def test_new_files_do_not_replace_the_users(
    repository: Repository, first: Model, do_commit: Commit, tmp_path: Path
) -> None:
    do_commit("listening", first)
    source = models.save(tmp_path / "more", models.tuned(first, 2), files=OTHER_FILES)
    do_commit("suggesting", source, onto="HEAD")
    out = tmp_path / "out"
    go(repository, "HEAD~1", out)
    for path, blocking in {
        "new/deep/file.txt": "new/deep/file.txt",
        "new/deep": "new/deep",
        "new": "new",
        "templates/mine": "templates",
    }.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text("mine")
        before = models.contents(out)
        with pytest.raises(InTheWayError) as caught:
            go(repository, "main")
        assert caught.value.path == out / blocking
        assert models.contents(out) == before
        (out / path).unlink()
        if path != "templates/mine":
            shutil.rmtree(out / "new", ignore_errors=True)
    go(repository, "main")
    assert models.contents(out) == models.contents(source)


def test_too_little_room(made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(OpenDirectory, "free_bytes", lambda _: 1000)
    with pytest.raises(NoSpaceError) as caught:
        go(made, "main", out)
    assert (caught.value.free, caught.value.needed > 1_000_000) == (1000, True)
    assert not out.exists()
    assert made.targets.all() == []


# Failures in the middle


@pytest.mark.parametrize("known", [False, True])
def test_a_disk_that_does_not_keep_what_is_written(
    made: Repository,
    sources: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
) -> None:
    out = tmp_path / "out"
    if known:
        go(made, "main", out)
    pwrite = os.pwrite
    broken: list[int] = []

    def forgetful(fd: int, data: bytes, offset: int) -> int:
        """One block arrives with a wrong bit, once."""
        if len(data) > 10_000 and not broken:
            broken.append(offset)
            data = bytes([data[0] ^ 1]) + bytes(data[1:])
        return pwrite(fd, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", forgetful)
        with pytest.raises(VerificationError) as caught:
            go(made, "v1", out)
    assert caught.value.name in models.SHAPES
    assert made.git.branch() == "main"
    assert not status(made).interrupted
    if known:
        assert models.contents(out) == models.contents(sources["suggesting"])
    else:
        assert not out.exists()


class Interrupt(BaseException):
    """Not an error that anybody expects."""


@pytest.mark.parametrize("to", ["new", "known"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (outfile_module, "write"),
        (outfile_module, "patch"),
        (DirectoryRecords, "save"),
    ],
)
def test_an_interrupt_is_undone_or_finished(
    sources: dict[str, Path],
    made: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    owner: object,
    name: str,
) -> None:
    out = tmp_path / "out"
    if to == "known":
        go(made, "main", out)
    monkeypatch.setattr(owner, name, _after(getattr(owner, name)))
    interrupted = True
    try:
        go(made, "v1", out)
        interrupted = False
    except Interrupt:
        pass
    monkeypatch.undo()
    assert interrupted == ((to, name) not in {("new", "patch"), ("known", "write")})
    found = status(made)
    assert not found.interrupted
    expected = {"base + listening + suggesting": "suggesting", "base + listening": "listening"}
    if out.exists():
        held = models.contents(sources[expected[str(found.personality)]])
        assert models.contents(out) == held
        assert found.targets[0].state == "clean"
    else:
        assert found.targets == ()
        assert found.branch == "main"
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


def _after(function: Callable[..., object]) -> Callable[..., object]:
    """The same function, whose first call is interrupted at its end."""
    calls: list[object] = []

    def interrupted(*arguments: object, **options: object) -> object:
        result = function(*arguments, **options)
        calls.append(None)
        if len(calls) == 1:
            raise Interrupt
        return result

    return interrupted


def test_switch_leaves_weights_alone(
    sources: dict[str, Path], made: Repository, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    go(made, "main", out)
    create_branch(made, "side", "v1")
    switch(made, "side", create=False)
    assert str(made.head().personality) == "base + listening"
    assert models.contents(out) == models.contents(sources["suggesting"])
    assert not status(made).targets[0].is_head


def test_a_new_directory_that_cannot_be_recorded_goes_again(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file = os.replace

    def refuse(before: Path, after: Path, **folders: int) -> None:
        if "targets" in Path(after).parts:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(after))
        replace_file(before, after, **folders)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="targets"):
            checkout(
                made, "listening", DirectoryTarget(tmp_path / "out"), keep_head=False, crew=CREW
            )
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert made.targets.all() == []
    assert not JournalFile(made).exists()
    checkout(made, "listening", DirectoryTarget(tmp_path / "out"), keep_head=False, crew=CREW)
