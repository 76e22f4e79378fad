"""Exit codes and hints.  The only place that knows either.

0 done     1 the answer is no     2 usage
10 no repository   11 locked   12 damaged   13 engine   14 name   15 other base
16 not finite      17 edited   18 pickle    19 other
130 interrupted    141 closed pipe   143 terminated   255 a mistake in pvc
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Hint = str | Callable[[Any], str | None] | None

NO, USAGE = 1, 2
NO_REPOSITORY, LOCKED, DAMAGED, ENGINE, NAME, OTHER_BASE = 10, 11, 12, 13, 14, 15
NOT_FINITE, EDITED, PICKLE, OTHER = 16, 17, 18, 19
INTERRUPTED, CLOSED_PIPE, TERMINATED, MISTAKE = 130, 141, 143, 255

EXIT_STATUS = (
    (0, "done"),
    (NO, "the answer is no: nothing to commit, damage found, a conflict, something depends on it"),
    (USAGE, "the command line is wrong"),
    (NO_REPOSITORY, "there is no pvc repository here"),
    (LOCKED, "another process holds the lock"),
    (DAMAGED, "stored bytes are missing or damaged"),
    (ENGINE, "an engine is not there, refuses, runs another model, or holds what would be lost"),
    (NAME, "a name is unknown, taken, ambiguous or impossible"),
    (OTHER_BASE, "the checkpoint is not a result of training the base"),
    (NOT_FINITE, "the checkpoint holds NaN or Inf where it started from numbers"),
    (EDITED, "edits, an unfinished git operation or a detached HEAD are in the way"),
    (PICKLE, "the checkpoint consists of pickles"),
    (OTHER, "any other error that pvc foresees, a full disk among them"),
    (INTERRUPTED, "interrupted; everything is as it was"),
    (CLOSED_PIPE, "the reader of the output went away"),
    (TERMINATED, "terminated; everything is as it was"),
    (MISTAKE, "a mistake in pvc"),
)

CODES = {
    "NothingChangedError": NO,
    "NothingEditedError": NO,
    "DependentError": NO,
    "ConflictError": NO,
    "UnchangedError": NO,
    "MergeConflictError": NO,
    "UnresolvedError": NO,
    "NoMergeError": NO,
    "ExpressionError": NAME,
    "NotRevertibleError": NO,
    "NotMergeableError": NO,
    "RepeatedTermError": NO,
    "RepeatedVectorError": USAGE,
    "ScaleError": USAGE,
    "ParameterError": USAGE,
    "SeveralTargetsError": USAGE,
    "MixedError": USAGE,
    "NoRepositoryError": NO_REPOSITORY,
    "NotPvcError": NO_REPOSITORY,
    "LockedError": LOCKED,
    "DamageError": DAMAGED,
    "MissingError": DAMAGED,
    "MissingBaseError": DAMAGED,
    "VerificationError": DAMAGED,
    "CollisionError": DAMAGED,
    "OtherTreeComputedError": DAMAGED,
    "UnkeptTreeError": DAMAGED,
    "SeveralEnginesError": USAGE,
    "NoEngineError": ENGINE,
    "EngineEndedError": ENGINE,
    "UnreachableError": ENGINE,
    "RefusedError": ENGINE,
    "DriftedEngineError": ENGINE,
    "UnknownWeightsError": ENGINE,
    "TornEngineError": ENGINE,
    "OtherRepositoryError": ENGINE,
    "OtherModelError": ENGINE,
    "UnsteadyError": ENGINE,
    "NotPrivateError": ENGINE,
    "ManifestError": ENGINE,
    "PeerError": ENGINE,
    "SealError": ENGINE,
    "ReplicaError": ENGINE,
    "OtherFormError": ENGINE,
    "EngineNameError": NAME,
    "UnknownRevisionError": NAME,
    "NoVectorError": NAME,
    "VectorNameError": NAME,
    "AmbiguousError": NAME,
    "BranchAndTagError": NAME,
    "NoTargetError": NAME,
    "NameTakenError": NAME,
    "OtherBaseError": OTHER_BASE,
    "NonFiniteError": NOT_FINITE,
    "EditedError": EDITED,
    "UnfinishedError": EDITED,
    "HeadMovedError": EDITED,
    "BlockedMoveError": EDITED,
    "DetachedError": EDITED,
    "PickleError": PICKLE,
}


_KEPT = "`pvc commit NAME --from DIR --onto base --aside` keeps what a directory holds."


def _other_base(error: Any) -> str:
    if error.renamed:
        before, after = error.renamed
        return (
            f"The tensors seem to be the same under other names ({before} is called {after}): "
            "save base and checkpoint with one version of transformers."
        )
    if (error.path / "adapter_config.json").exists():
        return "This is a LoRA adapter: merge it first (merge_and_unload) and save the whole model."
    return "`pvc show base` names the base; a repository has only one."


def _unknown(error: Any) -> str:
    if error.close:
        return f"Did you mean {' or '.join(error.close)}?"
    return (
        "`pvc log`, `pvc branch` and `pvc tag` list what there is; `pvc log NAME` finds the "
        "commits that have a vector."
    )


def _no_branch(error: Any) -> str:
    return (
        f"Did you mean {' or '.join(error.close)}?"
        if error.close
        else "`pvc branch` lists them, `pvc switch -c NAME` begins one; `pvc checkout` goes to any "
        "revision."
    )


def _no_weights(error: Any) -> str:
    inside = sorted(found.parent for found in error.path.glob("*/*.safetensors"))
    if inside:
        return f"Did you mean {inside[0]}?"
    return "Name the directory that `save_pretrained` wrote."


def _no_repository(error: Any) -> str:
    if (error.directory / "pvc.toml").exists():
        return "Weights do not travel with git: copy .git/pvc from the clone that has them."
    return "Start one with `pvc init --base DIR`, or go there with `pvc -C DIR`."


def _drifted(error: Any) -> str:
    if all(name.startswith("/") for name in error.names):
        return "Move the folder away, or check out to another one with `--to DIR`."
    return (
        f"Keep what is there with `pvc commit NAME --from {error.path} --aside`, or check out to "
        "another directory."
    )


def _dependent(error: Any) -> str:
    if "the personality" in error.dependents:
        return "Take it out of personality.toml first, and `pvc commit -m MESSAGE`."
    return "Remove what depends on it first, with `pvc rm`."


def _would_be_lost(error: Any) -> str:
    return (
        f"`pvc commit NAME --live {error.engine}` keeps what it holds (perhaps with `--aside`); "
        "`--force` overwrites it, and keeps it at a tag before."
    )


def _repair(error: Any) -> str:
    return f"`pvc checkout REV --live {error.engine}` repairs it."


def _refused(error: Any) -> str | None:
    return {
        "MovedOnError": "Run the command again.",
        "BusyError": "Wait until the other process is done.",
        "NoPauseError": "Nothing was written; run the command again when its steps are shorter.",
        "TornError": _repair(error),
        "StrayedError": "Start the engine again, or share its model once more.",
        "AfterwardsError": _repair(error),
    }.get(error.kind)


HINTS: dict[str, Hint] = {
    "NoRepositoryError": _no_repository,
    "HeadMovedError": "Run the command again.",
    "BlockedMoveError": "Commit or stash what you edited (see `git status`), or `--keep-head`.",
    "BadPlaceError": "Name a directory of its own with `--to DIR`.",
    "NearerBaseError": "Say what it was trained from: `--onto base`, or the revision.",
    "LockedError": lambda error: (
        "Wait until it is done; if none is running, one was killed: remove the lock."
        if error.path.endswith("index.lock")
        else "Wait until the other process is done."
    ),
    "UnknownRevisionError": _unknown,
    "NoBranchError": _no_branch,
    "NoFolderError": "Name the directory that `save_pretrained` wrote.",
    "NoWeightsError": _no_weights,
    "BaseAroundError": "Make it elsewhere: `pvc init DIR --base BASE`.",
    "InTheWayError": "Move it away, or name another directory.",
    "NoSpaceError": "Make room, or name a directory on another disk.",
    "MixedError": "`pvc diff NAME` shows a vector, `pvc diff REV REV` compares weights.",
    "NotRevertibleError": "`pvc log` lists the commits; `pvc checkout REV` goes back without "
    "changing history.",
    "ConflictError": "Edit personality.toml by hand, and `pvc commit -m MESSAGE`.",
    "MergeConflictError": "The files hold both values: edit them, and `pvc commit -m MESSAGE`; "
    "or `pvc merge --abort`, and again with `--ours` or `--theirs`.",
    "UnresolvedError": "Edit what stands between <<<<<<< and >>>>>>>; `git checkout --ours PATH` "
    "or `--theirs PATH` takes a side; `pvc merge --abort` goes back.",
    "PersonalityError": "Edit it again, or `git restore` it.",
    "ConfigError": "Edit it again, or `git restore` it.",
    "VectorError": "pvc writes these files itself: `git restore` it.",
    "VerificationError": "The disk or its memory may be failing; `pvc fsck` checks the store.",
    "NotPvcError": "Start one with `pvc init --base DIR`, or `pvc switch` to a branch of pvc's.",
    "SeveralEnginesError": lambda error: f"Name one, as in `--live {error.known[0]}`.",
    "NoEngineError": "`pvc live ls` lists those that run, a vLLM once it has loaded its model; "
    "`pvc serve DIR` starts one.",
    "EngineEndedError": "Start it again; `pvc status` says what it held.",
    "UnreachableError": "`pvc live ls` lists those that answer.",
    "RefusedError": _refused,
    "DriftedEngineError": _would_be_lost,
    "UnknownWeightsError": _would_be_lost,
    "TornEngineError": _repair,
    "OtherRepositoryError": "`pvc checkout REV --live --force` takes it over, and keeps what it "
    "holds at a tag before; `pvc commit NAME --live --aside` copies it.",
    "OtherModelError": "`pvc live ls` lists the engines, `pvc show base` names the base; a model "
    "has to be loaded in the dtype of its checkpoint.",
    "UnsteadyError": "Run the command again while the engine does not train.",
    "OtherFormError": "If another repository wrote to it, check out something there that this one "
    "has too, such as the base; else end it and start it again.",
    "NotPrivateError": "If it is yours, `chmod go= PATH`; else remove it.",
    "RoomError": "Make room in memory: blocks that change are there twice for a moment.",
    "NoVectorError": "`pvc log NAME` finds the commits that had it.",
    "AmbiguousError": "Choose another name, or rename one: `pvc mv`, `git branch -m`.",
    "NameTakenError": "Choose another name.",
    "BranchAndTagError": "Choose another name, or delete the other one with `-d`.",
    "NoTargetError": "`pvc status` lists the targets.",
    "RecordError": "Remove this file: pvc then takes the directory it was of for nobody's; or name "
    "another one with `--to DIR`.",
    "JournalError": "Nothing can be changed until this file is gone: remove it, then look at "
    "`git status` and `pvc status`; what was being written is taken for changed.",
    "OtherBaseError": _other_base,
    "NonFiniteError": "`--allow-nonfinite` commits it all the same.",
    "EditedError": "`pvc commit -m MESSAGE` commits them, `git restore PATH` drops them.",
    "UnfinishedError": lambda error: (
        "Conclude it with `pvc commit -m MESSAGE`, or go back with `pvc merge --abort`."
        if error.operation == "merge"
        else "Finish it with git, or abort it."
    ),
    "DetachedError": "Begin a branch with `pvc switch -c NAME`.",
    "PickleError": "Load it where you trust it, and save it with `save_pretrained`.",
    "NearerHeadError": "Say what it was trained from: `--onto HEAD` or `--onto base`.",
    "ExpressionError": lambda error: error.pointer,
    "UnknownOperandError": lambda error: f"{error.pointer}\n{_unknown(error)}",
    "RepeatedTermError": "Edit personality.toml, and `pvc commit -m MESSAGE`.",
    "OtherTreeError": "Use `--aside`, or `pvc switch` to the branch it was checked out from.",
    "ContainedError": lambda error: f"Commit it under another name, such as {error.name}_2.",
    "AppliedError": "Commit it under another name, or without `--aside`.",
    "DriftedError": _drifted,
    "ForeignDirectoryError": "Name a directory that does not exist yet.",
    "SeveralTargetsError": "Name one with `--to DIR`.",
    "DependentError": _dependent,
    "MissingBaseError": "Put the base's files back, or start with a base by value.",
    "DamageError": "`pvc fsck` says what depends on it.",
    "MissingError": "`pvc fsck` says what depends on it.",
    "OtherTreeComputedError": _KEPT,
    "UnkeptTreeError": _KEPT,
    "ExistsError": "`pvc status` says where it stands.",
}


DETAILS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "MergeConflictError": lambda error: {
        "conflicts": [
            {"sort": one.sort, "name": one.name, "ours": one.ours, "theirs": one.theirs}
            for one in error.conflicts
        ]
    },
    "UnresolvedError": lambda error: {"paths": list(error.paths)},
    "ExpressionError": lambda error: {"column": error.at + 1},
}


# What the disk says.
SYSTEM_HINTS = {
    errno.ENOSPC: "Make room, and run the command again.",
    errno.EDQUOT: "Make room, and run the command again.",
    errno.EIO: "The disk may be failing; `pvc fsck` checks the store.",
}


# What git says, and what that means here.
GIT: tuple[tuple[str, int, str], ...] = (
    (r"\.lock': File exists", LOCKED, "Wait until the other git command is done; if there is none, "
     "one was killed: remove the file."),
    (r"tell me who you are|empty ident|auto-detect email", OTHER, "Tell git who you are: `git "
     "config --global user.name NAME` and `git config --global user.email ADDRESS`."),
    (r"git is not installed", OTHER, "Install git; pvc keeps its history with it."),
    (r"dubious ownership", OTHER, "Another user owns it: `git config --global --add safe.directory "
     "DIR` trusts it."),
    (r"not fully merged", NO, "`pvc branch -D NAME` deletes it all the same."),
    (r"checked out at|used by worktree", NO, "`pvc switch` to another branch first."),
    (r"already exists", NAME, "Choose another name, or delete the other with `-d`."),
    (r"not found", NAME, "`pvc branch` and `pvc tag` list what there is."),
    (r"is not a valid|cannot lock ref", NAME, "Choose another name; `git help check-ref-format` "
     "says which are possible."),
)  # fmt: skip


def code_of(error: BaseException) -> int:
    """The exit code of an error: the one of its nearest class that has one."""
    of_git = _of_git(error)
    if of_git is not None:
        return of_git[0]
    return next((CODES[name] for name in _classes(error) if name in CODES), OTHER)


def details_of(error: BaseException) -> dict[str, Any]:
    """What --json tells of an error beside its message."""
    found = next((DETAILS[name] for name in _classes(error) if name in DETAILS), None)
    return {} if found is None else found(error)


def hint_of(error: BaseException) -> str | None:
    """What the user could do next, in one sentence."""
    of_git = _of_git(error)
    if of_git is not None:
        return of_git[1]
    hint = next((HINTS[name] for name in _classes(error) if name in HINTS), None)
    return hint(error) if callable(hint) else hint


def _of_git(error: Any) -> tuple[int, str] | None:
    """Exit code and hint for something that git refused and that is known here."""
    if "GitError" not in _classes(error):
        return None
    found = ((code, hint) for says, code, hint in GIT if re.search(says, error.detail))
    return next(found, None)


def _classes(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]
