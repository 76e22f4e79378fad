"""Remove, rename, revert, and what people edit by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc.errors import MalformedError
from pvc.repo.commands.branches import create_branch
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit_edits import commit_edits
from pvc.repo.commands.editing import DependentError, NameTakenError
from pvc.repo.commands.init import initialise
from pvc.repo.commands.log import log
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.revert import NotRevertibleError, revert
from pvc.repo.commands.status import status
from pvc.repo.commands.three_way import ConflictError
from pvc.repo.git import UnfinishedError
from pvc.repo.history.notes import read_note
from pvc.repo.history.recording import DetachedError, NothingChangedError
from pvc.repo.history.revision import AmbiguousError
from pvc.repo.personality.config import ConfigError
from pvc.repo.personality.personality_file import PersonalityError
from pvc.repo.personality.resolve import UnresolvableError
from pvc.repo.personality.vector_file import VectorError
from pvc.repo.personality.vector_names import VectorNameError
from pvc.repo.repository import EditedError, Repository
from pvc.repo.snapshot import NoVectorError
from pvc_store.errors import MissingError
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo.conftest import Commit
    from tests.support.models import Model

BEHAVIOUR = '# when it is good\n[[test]]\nask = "hello"\n'


@pytest.fixture(autouse=True)
def behaviour(made: Repository) -> None:
    """The vector listening has a behaviour."""
    write(made, "behaviours/listening.toml", BEHAVIOUR)
    commit_edits(made, "a behaviour")


def write(repository: Repository, path: str, text: str) -> None:
    (repository.root / path).parent.mkdir(exist_ok=True)
    (repository.root / path).write_text(text)


def read(repository: Repository, path: str) -> str:
    return (repository.root / path).read_text()


def personality(repository: Repository) -> str:
    return str(repository.head().personality)


def files(repository: Repository) -> dict[str, bytes]:
    """What git has of pvc's files at HEAD; the working tree has the same."""
    names = git(repository.root, "ls-tree", "-r", "--name-only", "HEAD").split()
    found = {name: repository.git.read_bytes("HEAD", name) for name in names}
    assert repository.edited() == ()
    assert {name: (repository.root / name).read_bytes() for name in names} == found
    return {name: data for name, data in found.items() if data is not None}


# Remove


def test_remove(made: Repository, tmp_path: Path) -> None:
    vector = models.captured(made.head(), "quiet")
    done = remove(made, "quiet")
    assert done.paths == ("vectors/quiet.json",)
    assert made.head().names == ("listening", "suggesting")
    assert "vectors/quiet.json" not in files(made)
    checkout(made, "quiet@HEAD~1", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    assert made.targets.all()[0].tree == vector.to_tree


def test_remove_what_cannot_be(made: Repository) -> None:
    with pytest.raises(DependentError) as caught:
        remove(made, "listening")
    assert caught.value.dependents == ("the personality",)
    with pytest.raises(NoVectorError):
        remove(made, "nothing")
    write(made, "personality.toml", "# empty\n")
    with pytest.raises(EditedError):
        remove(made, "quiet")


# Rename


def test_rename(made: Repository, tmp_path: Path) -> None:
    before, tree = files(made), models.built(made.head())
    checkout(made, "listening", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    done = rename(made, "listening", "hearing")
    assert str(done.personality) == personality(made) == "base + hearing + suggesting"
    after = files(made)
    assert after["vectors/hearing.json"] == before["vectors/listening.json"]
    assert after["behaviours/hearing.toml"] == BEHAVIOUR.encode()
    assert {"vectors/listening.json", "behaviours/listening.toml"}.isdisjoint(after)
    assert models.built(made.head()) == tree
    assert read_note(made, done.commit) == tree
    (target,) = made.targets.all()
    assert target.terms is not None
    assert [term.vector for term in target.terms] == ["hearing"]


def test_rename_what_cannot_be(made: Repository) -> None:
    create_branch(made, "side", "HEAD")
    write(made, "behaviours/taken.toml", BEHAVIOUR)
    commit_edits(made, "another behaviour")
    before = files(made)
    for old, new, error in [
        ("nothing", "hearing", NoVectorError),
        ("listening", "quiet", NameTakenError),
        ("listening", "listening", NameTakenError),
        ("listening", "taken", NameTakenError),
        ("listening", "side", AmbiguousError),
        ("listening", "a-b", VectorNameError),
    ]:
        with pytest.raises(error):
            rename(made, old, new)
    assert files(made) == before


# Revert


def test_revert_of_capture(made: Repository, first: Model, do_commit: Commit) -> None:
    before = files(made)
    with_terms = personality(made)
    do_commit("third", models.tuned(first, 4), onto="HEAD")
    done = revert(made, "HEAD")
    assert done.message == 'Revert "third: captured"'
    assert (files(made), personality(made)) == (before, with_terms)
    revert(made, "HEAD")
    assert personality(made) == f"{with_terms} + third"
    assert "third" in made.head().names


def test_revert_of_what_lies_further_back(made: Repository) -> None:
    suggesting = next(event for event in log(made, "suggesting", None)).entry.commit
    revert(made, suggesting)
    assert personality(made) == "base + listening"
    assert made.head().names == ("listening", "quiet")


def test_revert_of_extend(made: Repository, first: Model, do_commit: Commit) -> None:
    before = files(made)
    do_commit("suggesting", models.tuned(first, 5), onto="HEAD")
    assert files(made) != before
    revert(made, "HEAD")
    assert files(made) == before


def test_revert_of_replace(made: Repository, first: Model, do_commit: Commit) -> None:
    before = files(made)
    done = do_commit("quiet", models.tuned(first, 6), onto="base", aside=True)
    assert done.action == "replaced"
    revert(made, done.commit)
    assert files(made) == before


def test_revert_of_remove(made: Repository) -> None:
    before = files(made)
    remove(made, "quiet")
    revert(made, "HEAD")
    assert files(made) == before


def test_revert_of_rename(made: Repository) -> None:
    before, terms = files(made), personality(made)
    rename(made, "listening", "hearing")
    revert(made, "HEAD")
    assert personality(made) == terms
    assert {**files(made), "personality.toml": b""} == {**before, "personality.toml": b""}


def test_revert_conflicts(made: Repository, first: Model, do_commit: Commit) -> None:
    one = do_commit("suggesting", models.tuned(first, 5), onto="HEAD").commit
    do_commit("suggesting", models.tuned(first, 6), onto="HEAD")
    before = files(made)
    with pytest.raises(ConflictError) as caught:
        revert(made, one)
    assert caught.value.names == ("the vector suggesting",)
    assert files(made) == before
    rename(made, "listening", "hearing")
    write(made, "behaviours/hearing.toml", "# changed\n")
    commit_edits(made, "better")
    with pytest.raises(ConflictError) as caught:
        revert(made, "HEAD~1")
    assert caught.value.names == ("behaviours/hearing.toml",)
    made.check_clean()


def test_revert_of_a_term_that_changed_again(
    made: Repository, first: Model, do_commit: Commit
) -> None:
    """The commit brought vector and term; the term alone was taken out since, by hand."""
    do_commit("third", models.tuned(first, 4), onto="HEAD")
    third = made.head().commit
    text = read(made, "personality.toml")
    write(made, "personality.toml", text[: text.index('[[term]]\nvector = "third"')])
    commit_edits(made, "not applied")
    revert(made, third)
    assert "third" not in made.head().names


def test_revert_of_a_scale_that_changed_again(made: Repository) -> None:
    text = read(made, "personality.toml")
    for scale in ("0.5", "0.25"):
        write(made, "personality.toml", text.replace("scale = 1.0", f"scale = {scale}", 1))
        git(made.root, "commit", "-q", "-am", scale)  # git does not build it
    with pytest.raises(ConflictError) as caught:
        revert(made, "HEAD~1")
    assert caught.value.names == ("the term listening",)
    assert "0.5*listening" in str(revert(made, "HEAD").personality)


def test_revert_breaks_the_chain(made: Repository) -> None:
    (listening,) = (event.entry.commit for event in log(made, "listening", None))
    assert str(revert(made, listening).personality) == "base + suggesting"
    assert made.head().formula.exact is None


def test_not_revertible(made: Repository) -> None:
    def reason(text: str) -> str:
        with pytest.raises(NotRevertibleError) as caught:
            revert(made, text)
        return caught.value.reason

    beginning = git(made.root, "rev-list", "--max-parents=0", "HEAD").strip()
    assert reason("quiet") == reason("base") == "it is not a commit"
    assert reason(beginning) == "it has 0 parents, not one"
    git(made.root, "commit", "-q", "--allow-empty", "-m", "nothing")
    assert reason("HEAD") == "nothing of what it did is left"
    git(made.root, "checkout", "-q", "-b", "side", "HEAD~1")
    git(made.root, "commit", "-q", "--allow-empty", "-m", "beside")
    git(made.root, "merge", "-q", "-m", "merge", "main")
    assert reason("HEAD") == "it has 2 parents, not one"


def test_where_pvc_begins_is_not_revertible(tmp_path: Path, base: Path) -> None:
    git(tmp_path, "init", "-q", "new")
    git(tmp_path / "new", "commit", "-q", "--allow-empty", "-m", "start")
    initialise(tmp_path / "new", base, by_value=False, crew=CREW)
    with Repository.open(tmp_path / "new") as repository:
        with pytest.raises(NotRevertibleError) as caught:
            revert(repository, "HEAD")
        assert caught.value.reason == "it is where the repository begins"


# Edits by hand


def test_edits_are_committed_as_they_are(made: Repository) -> None:
    text = read(made, "personality.toml") + "# a comment of mine\n"
    write(made, "personality.toml", text)
    write(made, "behaviours/quiet.toml", BEHAVIOUR)
    write(made, "notes.txt", "not pvc's")
    git(made.root, "add", "notes.txt")
    done = commit_edits(made, "mine")
    assert done.paths == ("behaviours/quiet.toml", "personality.toml")
    assert read(made, "personality.toml") == text
    assert git(made.root, "status", "--porcelain") == "A  notes.txt\n"
    assert made.git.read("HEAD", "personality.toml") == text
    noted = read_note(made, done.commit)
    assert noted == models.built(made.head())


def test_staged_edits_are_committed_too(made: Repository) -> None:
    write(made, "behaviours/quiet.toml", BEHAVIOUR)
    git(made.root, "add", "behaviours")
    git(made.root, "rm", "-q", "behaviours/listening.toml")
    assert commit_edits(made, "x").paths == ("behaviours/listening.toml", "behaviours/quiet.toml")
    files(made)


def test_no_edits(made: Repository) -> None:
    with pytest.raises(NothingChangedError, match="no file of the personality was edited"):
        commit_edits(made, "nothing")
    write(made, "notes.txt", "not pvc's")
    with pytest.raises(NothingChangedError, match="no file of the personality was edited"):
        commit_edits(made, "nothing")


@pytest.mark.parametrize(
    ("path", "text", "error"),
    [
        ("personality.toml", "[[term]\n", PersonalityError),
        ("personality.toml", '[[term]]\nvector = "nothing"\n', NoVectorError),
        ("pvc.toml", "", ConfigError),
        ("pvc.toml", None, ConfigError),
        ("vectors/quiet.json", "{}", VectorError),
        ("vectors/listening.json", None, NoVectorError),
        ("vectors/a-b.json", "{}", VectorNameError),
    ],
)
def test_edits_that_make_no_sense_are_refused(
    made: Repository, path: str, text: str | None, error: type[Exception]
) -> None:
    head = made.head().commit
    if text is None:
        (made.root / path).unlink()
    else:
        write(made, path, text)
    with pytest.raises(error):
        commit_edits(made, "broken")
    assert made.head().commit == head
    assert made.edited() == (path,)
    if text is not None:
        assert read(made, path) == text


def test_edits_that_lead_to_what_is_not_there(made: Repository) -> None:
    vector = models.captured(made.head(), "quiet")
    text = read(made, "vectors/quiet.json")
    write(made, "vectors/quiet.json", text.replace(vector.to_tree.hex(), "ab" * 32))
    write(made, "personality.toml", '[[term]]\nvector = "quiet"\n')
    with pytest.raises(MissingError):
        commit_edits(made, "broken")
    write(made, "vectors/quiet.json", text.replace(vector.base.hex(), "ab" * 32))
    with pytest.raises(UnresolvableError, match="is relative to the base"):
        commit_edits(made, "broken")


def test_edits_with_windows_line_ends(made: Repository) -> None:
    git(made.root, "config", "core.autocrlf", "true")
    file = made.root / "personality.toml"
    file.write_bytes((file.read_text() + "# mine\n").replace("\n", "\r\n").encode())
    commit_edits(made, "mine")
    committed = made.git.read_bytes("HEAD", "personality.toml")
    assert committed is not None
    assert b"\r" not in committed
    assert b"\r\n" in file.read_bytes()
    assert made.edited() == ()


def test_not_while_git_is_busy_or_on_no_branch(made: Repository) -> None:
    write(made, "behaviours/quiet.toml", BEHAVIOUR)
    (made.git.directory / "CHERRY_PICK_HEAD").write_text(made.head().commit + "\n")
    with pytest.raises(UnfinishedError) as caught:
        commit_edits(made, "mine")
    assert caught.value.operation == "cherry-pick"
    (made.git.directory / "CHERRY_PICK_HEAD").unlink()
    git(made.root, "checkout", "-q", "--detach")
    with pytest.raises(DetachedError):
        commit_edits(made, "mine")


def test_commit_keeps_comments(made: Repository, first: Model, do_commit: Commit) -> None:
    text = "# top\n" + read(made, "personality.toml").replace(
        'vector = "listening"', 'vector = "listening" # the first\n# why it is here'
    )
    write(made, "personality.toml", text)
    commit_edits(made, "comments")
    do_commit("third", models.tuned(first, 4), onto="HEAD")
    after = read(made, "personality.toml")
    assert after.startswith(text)
    assert after.endswith('[[term]]\nvector = "third"\nscale = 1.0\n')


def test_malformed_history_is_an_error_of_its_own(made: Repository, do_commit: Commit) -> None:
    write(made, "personality.toml", "nonsense")
    git(made.root, "commit", "-q", "-am", "by hand")
    with pytest.raises(MalformedError):
        status(made)
    with pytest.raises(MalformedError):
        do_commit("other", models.model(9))
    assert next(log(made, None, 1)).personality is None
    write(made, "personality.toml", "# empty\n")
    commit_edits(made, "mended")
    with pytest.raises(NothingChangedError):
        do_commit("other", models.model())
