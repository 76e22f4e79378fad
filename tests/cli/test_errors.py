"""How commands fail: the exit code, one sentence, a hint that names the next step."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import pkgutil
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import pvc
import pvc_store
from pvc.cli import errors, exit_codes, git_refusals, hints
from pvc.errors import PvcError
from tests.repo.conftest import git
from tests.support import models
from tests.support.runner import Pvc, environment, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.models import Model

HOLDER = """
import sys
from pathlib import Path
from pvc.repo.repository import Repository
with Repository.open(Path(sys.argv[1])) as repository, repository.lock():
    print("held", flush=True)
    sys.stdin.read()
"""
NOBODY = 65534


def all_errors() -> Iterator[type[BaseException]]:
    for package in (pvc, pvc_store):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                with without_vllm():
                    importlib.import_module(module.name)
    waiting: list[type[BaseException]] = [PvcError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += kind.__subclasses__()


@contextlib.contextmanager
def without_vllm() -> Iterator[None]:
    """What needs vLLM is passed over where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise


def test_every_error_has_an_exit_code() -> None:
    known = {code for code, _ in exit_codes.EXIT_STATUS}
    for kind in all_errors():
        code = errors.code_of(_bare(kind))
        assert code in known - {0, exit_codes.BUG}, kind


def _bare(kind: type[BaseException]) -> BaseException:
    """An error without its facts."""
    error = kind.__new__(kind)
    error.__dict__["detail"] = ""
    return error


def test_exit_codes_and_hints_are_of_errors_that_exist() -> None:
    names = {f"{kind.__module__}:{kind.__qualname__}" for kind in all_errors()}
    assert {*exit_codes.CODES, *hints.HINTS, *errors.FIELDS, git_refusals.ERROR} <= names
    assert len(exit_codes.CODES) == sum(map(len, exit_codes.ERRORS.values()))
    assert {*exit_codes.ERRORS} <= {code for code, _ in exit_codes.EXIT_STATUS}
    assert {*hints.REFUSED} <= {kind.__name__ for kind in all_errors()}


def test_a_class_of_the_same_name_elsewhere_has_its_own_exit_code() -> None:
    twin = type("NoVectorError", (PvcError,), {"__module__": "elsewhere"})
    assert errors.code_of(twin("x")) == exit_codes.OTHER
    assert errors.hint_of(twin("x")) is None


# What is wrong with a checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "out"


def refused(pvc: Pvc, *words: str | Path, code: int, error: str, hint: str = "") -> None:
    """A command fails as it should, and changes nothing."""
    before = _state(pvc.directory)
    done = pvc(*words)
    assert (done.code, done.out) == (code, "")
    told = [line for line in done.err.splitlines() if not line.startswith("Usage: ")]
    assert told[0].startswith("error: ")
    assert error in told[0]
    assert len(told) == 1 + bool(hint)
    assert not hint or hint in told[1]
    assert told[-1].startswith("hint: ") == bool(hint)
    assert _state(pvc.directory) == before


def _state(root: Path) -> tuple[str, str, str]:
    if not (root / ".git").is_dir():
        return "", "", ""
    status = git(root, "status", "--porcelain", "--ignored")
    return git(root, "for-each-ref"), git(root, "log", "--format=%H%d"), status


def test_another_base(pvc: Pvc, checkpoint: Path) -> None:
    wider = {name: (*shape[:-1], shape[-1] + 1) for name, shape in models.SHAPES.items()}
    models.save(checkpoint, models.model(shapes=wider))
    before = Pvc(pvc.directory)("commit", "x", "--from", checkpoint)
    assert before.code == 15
    listed = before.err.splitlines()[0].split(": ", 2)[2]
    assert listed.count(";") == 2
    refused(
        pvc, "commit", "x", "--from", checkpoint, code=15, error=f"{checkpoint} is not a result of",
        hint="`pvc show base` to see the base",
    )  # fmt: skip


def test_other_names(pvc: Pvc, base_model: Model, checkpoint: Path) -> None:
    models.save(checkpoint, {f"language_{name}": raw for name, raw in base_model.items()})
    refused(
        pvc, "commit", "x", "--from", checkpoint, code=15, error="is not in the base",
        hint="is called language_model.",
    )  # fmt: skip


def test_an_adapter(pvc: Pvc, base_model: Model, checkpoint: Path) -> None:
    models.save(checkpoint, {"lora_A.weight": base_model["model.norm.weight"]})
    (checkpoint / "adapter_config.json").write_text("{}")
    refused(
        pvc,
        "commit",
        "x",
        "--from",
        checkpoint,
        code=19,
        error="is an adapter",
        hint="merge_and_unload",
    )


def test_nan(pvc: Pvc, first: Model, checkpoint: Path) -> None:
    values = models.numbers(first["model.norm.weight"])
    values[3] = np.nan
    models.save(checkpoint, {**first, "model.norm.weight": models.tensor(values, "BF16")})
    words = ("commit", "x", "--from", checkpoint, "--onto", "v1", "--aside")
    refused(pvc, *words, code=16, error="NaN or Inf", hint="`--allow-nonfinite`")
    assert pvc(*words, "--allow-nonfinite").code == 0


def test_a_tensor_named_twice(pvc: Pvc, checkpoint: Path) -> None:
    entry = '"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    header = f"{{{entry}, {entry}}}".encode()
    checkpoint.mkdir()
    data = len(header).to_bytes(8, "little") + header + bytes(4)
    (checkpoint / "model.safetensors").write_bytes(data)
    refused(pvc, "commit", "dup", "--from", checkpoint, code=19, error="holds the name 'w' more")


def test_pickles(pvc: Pvc, checkpoint: Path) -> None:
    checkpoint.mkdir()
    (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    refused(
        pvc, "commit", "x", "--from", checkpoint, code=18, error="pytorch_model.bin",
        hint="save_pretrained",
    )  # fmt: skip


def test_no_checkpoint(pvc: Pvc, sources: dict[str, Path], checkpoint: Path) -> None:
    shutil.copytree(sources["quiet"], checkpoint / "step-100")
    file = checkpoint / "step-100" / "config.json"
    for found, error, hint in (
        (checkpoint / "nothing", "it does not exist", "save_pretrained"),
        (file, "it is not a directory", "save_pretrained"),
        (checkpoint, "holds no safetensors file", f"Did you mean {checkpoint}/step-100?"),
        (checkpoint / "step-100" / "templates", "holds no safetensors file", "save_pretrained"),
    ):
        refused(pvc, "commit", "x", "--from", found, code=19, error=error, hint=hint)


# What is wrong with names


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a-b", "Use a_b."), ("a b", "Use a_b."), ("1st", ""), ("über", "Use uber."), ("base", ""),
        ("HEAD", ""), ("a" * 101, ""), ("a..b", ""),
    ],
)  # fmt: skip
def test_no_name_for_a_vector(pvc: Pvc, sources: dict[str, Path], name: str, hint: str) -> None:
    words = ("commit", name, "--from", sources["quiet"], "--aside")
    refused(pvc, *words, code=14, error="cannot name a vector: ", hint=hint)
    refused(pvc, "mv", "quiet", name, code=14, error="cannot name a vector: ", hint=hint)


def test_taken_names(pvc: Pvc, sources: dict[str, Path]) -> None:
    words = ("--from", sources["quiet"], "--aside")
    both, taken = "cannot be both a vector and a branch or tag", "Choose another name"
    refused(pvc, "commit", "main", *words, code=14, error=f"main {both}", hint=taken)
    refused(pvc, "branch", "quiet", code=14, error=f"quiet {both}", hint=taken)
    refused(pvc, "mv", "quiet", "listening", code=14, error="a vector or a beh", hint=taken)
    refused(pvc, "branch", "main", code=14, error="'main' already exists", hint=taken)
    refused(pvc, "tag", "v1", code=14, error="git tag failed: tag 'v1' already exists", hint="-d")
    refused(pvc, "tag", "a b", code=14, error="not a valid tag name", hint=taken)


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (("checkout", "listenin"), "'listenin' is neither", "Did you mean listening?"),
        (("log", "qiet"), "'qiet' is neither", "Did you mean quiet?"),
        (("show", "zzz"), "'zzz' is neither", "`pvc log`, `pvc branch` and `pvc tag`"),
        (("diff", "HEAD~99"), "'HEAD~99' is neither", "`pvc log`, `pvc branch` and `pvc tag`"),
        (("switch", "mainn"), "'mainn' is no branch", "Did you mean main?"),
        (("switch", "v1"), "'v1' is no branch", "`pvc checkout` for any other revision"),
        (("rm", "zzz"), "no vector zzz in commit", "`pvc log NAME`"),
        (("mv", "zzz", "x"), "no vector zzz in commit", "`pvc log NAME`"),
        (("branch", "-d", "zzz"), "branch 'zzz' not found", "`pvc branch` or `pvc tag`"),
        (("tag", "-d", "zzz"), "tag 'zzz' not found", "`pvc branch` or `pvc tag`"),
    ],
)
def test_unknown_names(pvc: Pvc, words: tuple[str, ...], error: str, hint: str) -> None:
    refused(pvc, *words, code=14, error=error, hint=hint)


# What cannot be done


def test_expressions(pvc: Pvc) -> None:
    for text in ("base + listening +", "2*base"):
        done = pvc("checkout", text, "--to", "out")
        assert (done.code, done.out) == (14, "")
        error, shown, caret = done.err.splitlines()
        assert "is no weight expression" in error
        assert shown == f"hint: {text}"
        assert caret.strip() == "^"
    assert not (pvc.directory / "out").exists()


def test_comparing_what_cannot_be_compared(pvc: Pvc) -> None:
    refused(pvc, "diff", "main", "quiet", code=2, error="differ in kind", hint="`pvc diff NAME`")


def test_nothing_changed(pvc: Pvc, sources: dict[str, Path], base: Path) -> None:
    refused(pvc, "commit", "x", "--from", sources["suggesting"], code=1, error="weights of HEAD")
    refused(pvc, "commit", "x", "--from", base, code=1, error="Nothing changed")
    refused(pvc, "commit", "-m", "x", code=1, error="no file of the personality was edited")


def test_it_was_not_said_what_it_was_trained_from(
    pvc: Pvc, sources: dict[str, Path], checkpoint: Path, first: Model
) -> None:
    models.save(checkpoint, models.tuned(models.tuned(first, 2), 5))
    before = _state(pvc.directory)
    done = pvc("commit", "x", "--from", checkpoint)
    assert (done.code, done.out) == (19, "")
    error, hint, base, head, more = done.err.splitlines()
    assert "cannot be told whether" in error
    assert "`--onto base`, `--onto HEAD` or `--onto REV`" in hint
    assert "`--aside`" in more
    after = "base + listening + suggesting + x"
    assert base.split("  ")[-2:] == [
        "--onto base",
        f"{after}: a sum, not the weights of {checkpoint}",
    ]
    assert head.split("  ")[-2:] == ["--onto HEAD", f"{after}: the weights of {checkpoint}"]
    assert _state(pvc.directory) == before


def test_edits_are_in_the_way(pvc: Pvc, sources: dict[str, Path]) -> None:
    (pvc.directory / "personality.toml").write_text("terms = 7\n")
    words = ("commit", "x", "--from", sources["quiet"], "--aside")
    for line in (words, ("checkout", "v1"), ("mv", "quiet", "x"), ("revert", "HEAD")):
        refused(pvc, *line, code=17, error="personality.toml", hint="`git restore PATH`")
    refused(pvc, "commit", "-m", "x", code=19, error="is malformed", hint="`git restore`")


def test_a_detached_head(pvc: Pvc) -> None:
    pvc("checkout", "v1")
    refused(pvc, "rm", "listening", code=17, error="on no branch", hint="`pvc switch -c NAME`")


def test_git_is_not_done(pvc: Pvc) -> None:
    (pvc.directory / ".git" / "MERGE_HEAD").write_text(git(pvc.directory, "rev-parse", "v1"))
    refused(pvc, "rm", "quiet", code=17, error="A git merge is not finished", hint="Conclude it")


def test_git_is_at_work(pvc: Pvc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pvc.repo.git.locks.LOCK_SECONDS", 0.1)
    (pvc.directory / ".git" / "index.lock").touch()
    for words in (("rm", "quiet"), ("checkout", "v1"), ("switch", "main")):
        refused(pvc, *words, code=11, error="held by another git command", hint="remove the lock")


def test_a_directory_that_is_not_ours(pvc: Pvc, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    refused(pvc, "forget", "mine", code=14, error="Nothing was checked out to", hint="`pvc status`")
    for found in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        refused(
            pvc, "checkout", "main", "--to", found, code=19, error=f"{found} exists",
            hint="does not exist yet",
        )  # fmt: skip
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def test_a_target_that_was_changed(pvc: Pvc) -> None:
    pvc("checkout", "main", "--to", "served")
    (pvc.directory / "served" / "config.json").write_text("{}")
    refused(
        pvc,
        "checkout",
        "v1",
        code=19,
        error="pvc wrote it: config.json differs.",
        hint="Commit its weights",
    )
    pvc("checkout", "v1", "--to", "other")
    refused(pvc, "checkout", "main", code=2, error="several targets", hint="Name one with `--to")


def test_malformed_records(pvc: Pvc) -> None:
    pvc("checkout", "main", "--to", "served")
    (record,) = (pvc.directory / ".git" / "pvc" / "targets").iterdir()
    record.write_text("{")
    refused(pvc, "checkout", "v1", code=19, error=f"{record} is malformed", hint="Remove this file")
    assert f"malformed:   {record} (" in pvc("status").out
    record.unlink()
    journal = pvc.directory / ".git" / "pvc" / "journal.json"
    journal.write_text("{")
    for words in (("rm", "quiet"), ("tag", "v2"), ("commit", "-m", "x"), ("switch", "main")):
        refused(pvc, *words, code=19, error=f"{journal} is malformed", hint="Remove it, then check")
    assert [one["path"] for one in pvc.json("status")["malformed"]] == [str(journal)]
    assert pvc("log").code == 0
    assert "journal" in pvc("fsck").out


def test_init_where_it_cannot_be(work: Path, base: Path, tmp_path: Path) -> None:
    pvc = Pvc(work)
    refused(pvc, "init", "--base", base, code=19, error="repository already", hint="`pvc status`")
    shutil.copytree(base, tmp_path / "copy")
    refused(
        Pvc(tmp_path), "init", "copy", "--base", "copy", code=19, error="lies within the base",
        hint="`pvc init DIR --base BASE`",
    )  # fmt: skip


def test_no_repository(tmp_path: Path) -> None:
    for words in (("status",), ("log",), ("commit", "x", "--from", "y"), ("fsck",)):
        hint = "`pvc init --base DIR`"
        refused(Pvc(tmp_path), *words, code=10, error=f"{tmp_path} is not in a pvc", hint=hint)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("comit",), "Did you mean 'commit'?"),
        (("commit",), "Give NAME and --from or --live to commit a vector"),
        (("commit", "x"), "Give either --from DIR or --live."),
        (("commit", "--form", "x"), "Did you mean '--from'?"),
        (("init",), "Missing option '--base'"),
        (("checkout",), "Missing argument 'REV'"),
        (("diff", "--by", "x"), "is not one of 'role', 'layer', 'tensor'"),
        (("switch", "a", "b"), "it needs -c"),
        (("branch", "-d"), "need the NAME of a branch"),
        (("tag", "-d"), "needs the NAME of a tag"),
        (("fsck", "--threads", "0"), "--threads"),
    ],
)
def test_usage(pvc: Pvc, words: tuple[str, ...], error: str) -> None:
    done = pvc(*words)
    assert done.err.startswith("Usage: pvc ")
    refused(pvc, *words, code=2, error=error, hint="--help`.")


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    refused(Pvc(tmp_path / "no"), "status", code=2, error="does not exist", hint="`pvc --help`")


def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    done = spawn(cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == spawn("--help", cwd=tmp_path).out


# JSON


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (("show", "zzz"), 14, "UnknownRevisionError"),
        (("rm", "listening"), 1, "DependentError"),
        (("commit", "-m", "x"), 1, "NothingChangedError"),
        (("checkout",), 2, "MissingParameter"),
        (("log", "--nope"), 2, "NoSuchOption"),
        (("comit",), 2, "UsageError"),
    ],
)
def test_errors_as_json(pvc: Pvc, words: tuple[str, ...], code: int, name: str) -> None:
    done = pvc(*words, "--json")
    found = done.error()
    assert set(found) == {"code", "name", "message", "hint"}
    assert (done.code, found["code"], found["name"]) == (code, code, name)
    assert found["message"]


# What the surroundings do


def test_another_process_holds_the_lock(pvc: Pvc) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(pvc.directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        error, hint = (
            f"is held by process {holder.pid}",
            "Wait until the other process has finished, or use `pvc --wait SECONDS ...`.",
        )
        refused(pvc, "rm", "quiet", code=11, error=error, hint=hint)
        assert pvc("status").code == 0
        holder.kill()
    assert pvc("rm", "quiet").code == 0


def test_git_does_not_know_who_commits(pvc: Pvc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.useConfigOnly")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    refused(pvc, "rm", "quiet", code=19, error="git var", hint="`git config --global user.name")


def test_git_is_not_installed(work: Path, base: Path, tmp_path: Path) -> None:
    nowhere = {"PATH": str(tmp_path / "nowhere")}
    for done in (
        spawn("status", cwd=work, env=nowhere),
        spawn("init", "new", "--base", base, cwd=tmp_path, env=nowhere),
    ):
        assert done.code == 19
        assert "the program git is not installed" in done.err
        assert "hint: Install git" in done.err


def test_the_disk_is_full(work: Path, sources: dict[str, Path]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = spawn("checkout", "v1", "--to", "out", cwd=work, preexec_fn=limit)
    assert done.code == 19
    assert done.err.startswith("error: ")
    assert "File too large" in done.err
    assert not (work / "out").exists()
    words = ("commit", "x", "--from", sources["quiet"], "--aside", "--onto", "v1")
    done = spawn(*words, cwd=work, preexec_fn=limit)
    assert done.code == 19
    assert "File too large" in done.err
    assert "Traceback" not in done.err
    assert Pvc(work)("fsck").code == 0


@pytest.mark.parametrize(
    ("code", "hint"), [(errno.ENOSPC, "Free some space"), (errno.EIO, "The disk may be failing")]
)
def test_what_the_disk_refuses_is_named(
    pvc: Pvc, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch, code: int, hint: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    words = ("commit", "x", "--from", sources["quiet"], "--aside", "--onto", "v1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        refused(pvc, *words, code=19, error=f"{pvc.directory}/.git/pvc/", hint=hint)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        error = f".pvc-tmp: {os.strerror(code)}."
        refused(pvc, "checkout", "v1", "--to", "out", code=19, error=error, hint=hint)
    assert pvc("fsck").code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_the_answer_cannot_be_written(work: Path) -> None:
    done_without = "The command is done; only its output could not be written."
    for words, told, hint in (
        ("status", f" {done_without}", "Free some space."),
        ("--help", "", "Free some space, and run the command again."),
    ):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "pvc", words], cwd=work, env=environment(), check=False,
                stdout=full, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        text = f"error: No space left on device.{told}\nhint: {hint}\n"
        assert (done.returncode, done.stderr) == (19, text)


def test_an_error_of_the_system_names_its_path(pvc: Pvc, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    refused(pvc, "checkout", "main", "--to", file / "out", code=19, error=f"{file}: File exists.")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_path_is_named(pvc: Pvc, tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    done = pvc("checkout", "main", "--to", shut / "out")
    assert done.code == 19
    assert done.err.startswith(f"error: {shut}/")
    assert done.err.endswith(": Permission denied.\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user(pvc: Pvc) -> None:
    for path in (pvc.directory, *pvc.directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    done = pvc("status")
    assert done.code == 19
    assert "dubious ownership" in done.err
    assert "hint: The repository belongs to another user. To trust it: `git" in done.err
    assert "git config --global --add safe.directory" in done.err


# Mistakes in pvc itself


def test_too_little_memory(pvc: Pvc, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pvc.repo.commands.status.status", fail)
    done = pvc("status")
    assert (done.code, done.err) == (19, "error: Out of memory.\n")


def test_a_mistake(pvc: Pvc, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("so it goes")

    monkeypatch.setattr("pvc.repo.history.revision.resolve", broken)
    done = pvc("show", "HEAD")
    assert (done.code, done.out) == (255, "")
    assert done.err == (
        "error: This is a bug in pvc: RuntimeError: so it goes\n"
        "hint: Set PVC_DEBUG=1 to see where, and please report it.\n"
    )
    assert pvc("show", "--json").error()["code"] == 255
    monkeypatch.setenv("PVC_DEBUG", "1")
    done = pvc("show", "HEAD")
    assert done.code == 255
    assert "Traceback (most recent call last):" in done.err
    assert "in broken" in done.err
