"""Every command once or twice: what it writes as text, what as JSON, and what it leaves behind."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from pvc.cli.main import SECTIONS
from tests.repo.conftest import git
from tests.support.models import contents
from tests.support.runner import Pvc

if TYPE_CHECKING:
    from pathlib import Path

AMOUNT = {"elements", "changed_elements", "tau_norm", "from_norm", "relative_norm"}
VECTOR = AMOUNT | {
    "sort", "name", "base", "from", "to", "layout", "tensors", "changed_tensors", "blocks",
    "changed_blocks", "total_bytes", "stored_bytes", "roles", "provenance",
}  # fmt: skip
EVENT = {"commit", "date", "author", "refs", "subject", "personality", "vectors"}
EDITED = {"commit", "message", "personality", "paths"}
ROW = {
    "label", "tensors", "changed_tensors", "elements", "changed_elements", "blocks",
    "changed_blocks", "tau_norm", "from_norm", "relative_norm", "sorts",
}  # fmt: skip
FIELDS: dict[str, set[str]] = {
    "init": {
        "root", "commit", "base", "tensors", "total_bytes", "stored_bytes", "left_out", "notes",
        "seconds",
    },
    "commit": {
        "vector", "action", "origin", "origin_reason", "evidence", "personality", "applied",
        "head_is_result", "commit", "left_out", "notes", "rounded_share", "engine", "seconds",
    },
    "commit -m": EDITED,
    "revert": EDITED,
    "mv": EDITED,
    "rm": EDITED,
    "scale": EDITED,
    "negate": EDITED,
    "merge": EDITED | {"vector"},
    "merge --ties": EDITED | {"vector", "conflicts"},
    "merge --abort": {"commit", "personality"},
    "build": {"revision", "tree", "layout", "computed", "seconds"},
    "checkout": {
        "revision", "tree", "layout", "directory", "created", "engine", "paused_seconds", "unread",
        "unloaded", "rescue", "written_bytes", "head_moved", "branch", "commit", "dtypes",
        "overflows", "seconds",
    },
    "switch": {"branch", "commit"},
    "branch": {"branches"},
    "branch NAME": {"name", "commit"},
    "tag": {"tags"},
    "tag NAME": {"name", "commit"},
    "status": {
        "store",
        "root", "branch", "commit", "personality", "terms", "tree", "aside", "edited", "unfinished",
        "busy", "interrupted", "base", "targets", "engines", "malformed",
    },
    "log": {"commits"},
    "show": {"revision", "kind", "vector", "commit", "tree", "layout", "noted"},
    "diff": {"before", "after", "by", "rows", "total"},
    "diff NAME NAME": {"a", "b", "by", "rows", "total"},
    "serve": {"name", "url", "model", "device", "dtype"},
    "live ls": {"engines"},
    "live verify": {
        "engine", "revision", "tree", "compared_bytes", "drifted", "unread", "unloaded", "held",
        "recorded", "seconds",
    },
    "live restore": {"engine", "revision", "tree", "written_bytes", "rescue", "seconds"},
    "forget": {"path", "engine"},
    "fsck": {"clean", "commits", "trees", "blocks", "findings"},
}  # fmt: skip
"""The fields of every command's JSON: they may become more, and never others."""


def fields(document: dict[str, Any], command: str) -> dict[str, Any]:
    """The document, once its fields are those of the command."""
    assert set(document) == FIELDS[command] | {"version"}
    return document


def test_every_command_has_its_fields() -> None:
    commands = {name for names in SECTIONS.values() for name in names}
    assert commands - {"demo"} == {command.split()[0] for command in FIELDS}


# Start


def test_init(base: Path, tmp_path: Path) -> None:
    root = tmp_path / "a" / "new"
    done = Pvc(tmp_path)("init", root, "--base", base)
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first.startswith("base ")
    assert ": 6 tensors, 998 kB stored of 1.48 MB, " in first
    assert second == f"repository {root}"
    assert done.err == ""
    assert git(root, "log", "--format=%s") == "Start from base\n"


def test_init_as_json(base: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    found = fields(Pvc(tmp_path / "new").json("init", "--base", base), "init")
    assert found["root"] == str(tmp_path / "new")
    assert set(found["base"]) == {"tree", "layout", "origin", "stored"}
    assert found["base"]["origin"] == str(base)
    assert found["base"]["stored"] == "value"
    assert found["left_out"] == []


def test_init_by_reference_warns(base: Path, tmp_path: Path) -> None:
    done = Pvc(tmp_path)("init", "new", "--base", base, "--base-by-reference")
    assert done.err == f"warning: the base is not copied: {base} must never change\n"
    assert "BY REFERENCE" in Pvc(tmp_path / "new")("status").out


@pytest.mark.parametrize("inside", [False, True])
def test_an_init_that_fails_leaves_no_directory(tmp_path: Path, inside: bool) -> None:
    if inside:
        (tmp_path / "new").mkdir()
    done = Pvc(tmp_path)("init", "new/deeper", "--base", "nothing")
    assert done.code == 19
    assert f"{tmp_path}/nothing is not a checkpoint: it does not exist." in done.err
    assert [path.name for path in tmp_path.rglob("*")] == ["new"] * inside


# Change


def test_commit(fresh: Path, sources: dict[str, Path]) -> None:
    pvc = Pvc(fresh)
    done = pvc("commit", "listening", "--from", sources["listening"], "-m", "20 examples")
    assert done.code == 0
    title, changed, size, stored, end = done.out.splitlines()
    assert title.startswith("listening: captured, ")
    assert " (base) -> " in title
    assert changed.split()[0] == "changed"
    assert "of 741 440 elements (91.1 %), 7 of 7 blocks" in changed
    assert size.split() == ["norm", "0.02", "relative", "to", "the", "origin"]
    assert "kB of 1.48 MB (" in stored
    assert end.endswith("] base + listening")
    assert pvc("log", "-n", "1").out.splitlines()[0].endswith(" 20 examples")


def test_commit_as_json(pvc: Pvc, sources: dict[str, Path]) -> None:
    words = ("commit", "calm", "--from", sources["listening"], "--aside", "--onto", "base")
    found = fields(pvc.json(*words, "-m", "für später"), "commit")
    assert set(found["vector"]) == VECTOR
    assert all(set(amount) == AMOUNT for amount in found["vector"]["roles"].values())
    assert found["vector"]["provenance"] == {
        "message": "für später",
        "origin": str(sources["listening"]),
    }
    assert (found["action"], found["applied"], found["origin"]) == ("captured", False, "base")
    assert found["personality"] == "base + listening + suggesting"
    assert found["commit"] == git(pvc.directory, "rev-parse", "HEAD").strip()
    assert pvc("commit", "more", "--from", sources["quiet"], "--aside", "--onto", "base").code == 0


def test_commit_tells_what_it_leaves_out(fresh: Path, sources: dict[str, Path]) -> None:
    extra = fresh / "extra"
    for name, data in contents(sources["listening"]).items():
        (extra / name).parent.mkdir(parents=True, exist_ok=True)
        (extra / name).write_bytes(data)
    (extra / "optimizer.pt").write_bytes(b"pickled")
    pvc = Pvc(fresh)
    done = pvc("commit", "listening", "--from", "extra")
    assert done.err.startswith("left out: optimizer.pt (")
    again = pvc("commit", "twice", "--from", "extra", "--aside", "--onto", "base", "--quiet")
    assert (again.code, again.err) == (0, "left out: optimizer.pt (pickle)\n")


def test_commit_of_edits(pvc: Pvc) -> None:
    file = pvc.directory / "personality.toml"
    file.write_text("# mine\n" + file.read_text())
    found = fields(pvc.json("commit", "-m", "a remark"), "commit -m")
    assert found["paths"] == ["personality.toml"]
    file.write_text("# my own\n" + file.read_text())
    done = pvc("commit", "-m", "another")
    assert done.out.splitlines()[0] == "another"
    assert done.out.splitlines()[1].endswith("] base + listening + suggesting")


def test_revert(pvc: Pvc) -> None:
    found = fields(pvc.json("revert", "HEAD"), "revert")
    assert found["message"] == 'Revert "quiet: captured"'
    done = pvc("revert", "HEAD")
    assert done.out.startswith('Revert "Revert')
    assert pvc.json("status")["aside"] == ["quiet"]


def test_mv_and_rm(pvc: Pvc) -> None:
    found = fields(pvc.json("mv", "suggesting", "offering"), "mv")
    assert found["personality"] == "base + listening + offering"
    assert pvc("mv", "quiet", "calm").out.startswith("Rename quiet to calm\n[")
    assert fields(pvc.json("rm", "calm"), "rm")["paths"] == ["vectors/calm.json"]
    refused = pvc("rm", "offering")
    assert refused.code == 1
    assert "hint: Remove its term from personality.toml first" in refused.err


# Move


def test_checkout(pvc: Pvc, sources: dict[str, Path]) -> None:
    served = pvc.directory / "served"
    done = pvc("checkout", "v1", "--to", "served")
    first, second, third = done.out.splitlines()
    assert first.startswith(f"{served}: tree ")
    assert ", 1.48 MB written and verified, " in first
    assert second.endswith("(detached; `pvc switch -c NAME` creates a branch)")
    assert third == "base + listening"
    assert contents(served) == contents(sources["listening"])
    done = pvc("checkout", "main")
    assert "updated in place and verified" in done.out
    assert "(on main)" in done.out
    assert contents(served) == contents(sources["suggesting"])


def test_checkout_as_json(pvc: Pvc) -> None:
    found = fields(pvc.json("checkout", "main"), "checkout")
    assert (found["directory"], found["head_moved"], found["branch"]) == (None, True, "main")
    found = fields(pvc.json("checkout", "base", "--to", "out"), "checkout")
    assert found["directory"] == str(pvc.directory / "out")
    assert (found["created"], found["head_moved"]) == (True, False)
    found = pvc.json("checkout", "v1", "--keep-head")
    assert (found["created"], found["head_moved"], found["branch"]) == (False, False, "main")


def test_checkout_without_a_directory_says_so(pvc: Pvc) -> None:
    assert pvc("checkout", "main").out.endswith(
        "no weights were written: no target; use --to DIR or --live\n"
    )


def test_switch_branch_and_tag(pvc: Pvc) -> None:
    commit = git(pvc.directory, "rev-parse", "HEAD").strip()
    assert pvc("switch", "-c", "side").out == f"on side, at {commit[:10]}\n"
    assert fields(pvc.json("switch", "main"), "switch")["branch"] == "main"
    made = fields(pvc.json("branch", "old", "v1"), "branch NAME")
    assert made["commit"] == git(pvc.directory, "rev-parse", "v1").strip()
    assert pvc("branch").out.splitlines()[0] == f"* main  {commit[:10]}"
    found = fields(pvc.json("branch"), "branch")["branches"]
    assert [(one["name"], one["current"]) for one in found] == [
        ("main", True), ("old", False), ("side", False),
    ]  # fmt: skip
    assert pvc("branch", "-D", "old").out == "old deleted\n"
    assert fields(pvc.json("branch", "-d", "side"), "branch NAME")["commit"] is None
    assert pvc("tag", "v2").out == f"v2 is at {commit[:10]}\n"
    assert fields(pvc.json("tag", "v3", "v1"), "tag NAME")["name"] == "v3"
    assert [one["name"] for one in fields(pvc.json("tag"), "tag")["tags"]] == ["v1", "v2", "v3"]
    assert pvc("tag", "-d", "v3").out == "v3 deleted\n"


# Inspect


def test_status(pvc: Pvc) -> None:
    pvc("checkout", "main", "--to", "served")
    (pvc.directory / "served" / "empty.txt").write_text("no more")
    lines = dict(line.split(":", 1) for line in pvc("status").out.splitlines()[1:])
    assert lines["personality"].startswith(" base + listening + suggesting (tree ")
    assert lines["aside"].strip() == "quiet"
    assert lines["base"].endswith(", stored by value")
    assert lines["target"].endswith("; touched since: empty.txt")
    found = fields(pvc.json("status"), "status")
    assert [set(term) for term in found["terms"]] == [{"vector", "scale"}] * 2
    assert set(found["base"]) == {"tree", "origin", "stored", "present"}
    assert [set(one) for one in found["targets"]] == [
        {"path", "revision", "tree", "state", "changed", "is_head"}
    ]
    assert found["targets"][0]["changed"] == ["empty.txt"]


def test_log(pvc: Pvc) -> None:
    lines = pvc("log").out.splitlines()
    assert lines[0].endswith(" quiet: captured")
    assert lines[1] == "    base + listening + suggesting"
    assert lines[2].startswith("    added quiet: 93.7 % of the elements, norm 0.0283, ")
    assert len([line for line in lines if not line.startswith(" ")]) == 4
    events = fields(pvc.json("log"), "log")["commits"]
    assert all(set(event) == EVENT for event in events)
    changes = [change for event in events for change in event["vectors"]]
    assert all(set(change) == {"name", "action", "vector"} for change in changes)
    assert all(set(change["vector"]) == VECTOR for change in changes)
    assert len(pvc.json("log", "listening")["commits"]) == 1
    assert len(pvc.json("log", "-n", "2")["commits"]) == 2


@pytest.mark.parametrize(
    ("revision", "kind"), [("HEAD", "commit"), ("listening", "vector"), ("base", "base")]
)
def test_show(pvc: Pvc, revision: str, kind: str) -> None:
    found = fields(pvc.json("show", revision), "show")
    assert (found["revision"], found["kind"]) == (revision, kind)
    assert (found["vector"] is not None) == (kind == "vector")
    text = pvc("show", revision).out
    assert {"commit": "    tree ", "vector": "vector listening\n", "base": "base "}[kind] in text


def test_show_indents_long_messages(fresh: Path, sources: dict[str, Path]) -> None:
    message = "first line\n\nsecond line: żółć"
    pvc = Pvc(fresh)
    assert pvc("commit", "a", "--from", sources["listening"], "-m", message).code == 0
    assert "\n  message   first line\n\n            second line: żółć\n" in pvc("show", "a").out
    assert pvc.json("show", "a")["vector"]["provenance"]["message"] == message


@pytest.mark.parametrize("group", ["role", "layer", "tensor"])
def test_diff(pvc: Pvc, group: str) -> None:
    found = fields(pvc.json("diff", "v1", "HEAD", "--by", group), "diff")
    assert (found["before"], found["after"], found["by"]) == ("v1", "HEAD", group)
    assert all(set(row) == ROW for row in (*found["rows"], found["total"]))
    lines = pvc("diff", "v1", "HEAD", "--by", group).out.splitlines()
    assert lines[0] == "v1 -> HEAD"
    assert lines[1].split() == [group, "tensors", "elements", "changed", "blocks", "norm"]
    assert [line.split()[0] for line in lines[2:]] == [
        *(row["label"] for row in found["rows"]), "total",
    ]  # fmt: skip


def test_diff_of_a_vector(pvc: Pvc) -> None:
    assert pvc("diff", "quiet").out.startswith("where quiet starts -> quiet\n")


# Maintain


def test_fsck(pvc: Pvc) -> None:
    found = fields(pvc.json("fsck"), "fsck")
    assert (found["clean"], found["commits"], found["findings"]) == (True, 4, [])
    assert pvc("fsck").out.endswith(" blocks: no damage\n")


def test_fsck_of_a_damaged_pack(pvc: Pvc) -> None:
    for pack in (pvc.directory / ".git/pvc/packs").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
    done = pvc("fsck", "--json")
    assert done.code == 1
    found = fields(json.loads(done.out), "fsck")
    assert not found["clean"]
    assert all(set(one) == {"what", "name", "detail", "dependents"} for one in found["findings"])
    text = pvc("fsck")
    assert text.code == 1
    assert "    needed by " in text.out
    assert text.out.endswith(" problems\n")
    refused = pvc("checkout", "main", "--to", "out")
    assert refused.code == 12
    assert refused.err.endswith("hint: Run `pvc fsck` to see what depends on it.\n")
    assert not (pvc.directory / "out").exists()


def test_forget(pvc: Pvc) -> None:
    served = pvc.directory / "served"
    pvc("checkout", "main", "--to", "served")
    shutil.rmtree(served)
    assert "missing; `pvc forget` removes it" in pvc("status").out
    assert fields(pvc.json("forget", "served"), "forget")["path"] == str(served)
    assert pvc.json("status")["targets"] == []
    pvc("checkout", "main", "--to", "served")
    assert pvc("forget", served).out == f"{served} is no longer a target\n"
    assert served.is_dir()


# Where and how


@pytest.mark.parametrize("words", [("status",), ("log",), ("branch",), ("diff",), ("fsck",)])
def test_quiet_leaves_the_answer(pvc: Pvc, words: tuple[str, ...]) -> None:
    loud, quiet = pvc(*words), pvc(*words, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, loud.out, "")


def test_it_works_from_below(work: Path) -> None:
    (work / "below").mkdir()
    assert Pvc(work / "below").json("status")["root"] == str(work)
