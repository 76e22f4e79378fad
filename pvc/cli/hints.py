"""Hints: what to do next after an error, in one sentence."""

from __future__ import annotations

import errno
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from pvc.cli.exit_codes import names_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Hint = str | Callable[[Any], str | None]

_COPY = "Run `pvc commit NAME --from DIR --onto base --aside` to commit a directory's weights."
_FSCK = "Run `pvc fsck` to see what depends on it."
_AGAIN = "Edit it again, or run `git restore` on it."
_SAVED = "Give the directory that `save_pretrained` wrote."


_MISMATCHES = {
    "empty": "Gather them: `python zero_to_fp32.py . DIR --safe_serialization` in the folder of "
    "the DeepSpeed checkpoint, or train with `stage3_gather_16bit_weights_on_model_save`.",
    "adapter": "Merge it and save the whole: `model.merge_and_unload().save_pretrained(DIR)`.",
    "nested": "Save all parts of the model, or copy what was not trained: `cp -r BASE/{0} "
    "{path}/`.",
    "dtype": "Save it as {0} or as F32: `model.to(DTYPE).save_pretrained(DIR)`. F32 keeps most.",
    "vocabulary": "If the new tokens are not needed, `model.resize_token_embeddings({0})` before "
    "saving. Otherwise resize the base in the same way, save it, and create a repository with it: "
    "`pvc init --base RESIZED`.",
    "head": "Save base and result both tied or both untied: set `config.tie_word_embeddings` "
    "alike, and create a repository with that base if it is the base that changes.",
    "buffer": "Load it and save it again with a current transformers, which leaves them away: "
    "`AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW)`.",
    "experts": "Save base and result with the same version of transformers: "
    '`AutoModelForCausalLM.from_pretrained(DIR, dtype="auto").save_pretrained(NEW)` for both, '
    "and create a repository with that base.",
    "wrapper": "Save the model inside the wrapper: `accelerator.unwrap_model(model)`, "
    "`model._orig_mod` or `model.module`, then `.save_pretrained(DIR)`.",
    "subset": "Save the whole model, not only what was trained: `model.save_pretrained(DIR)`.",
}
"""Remedies by the cause that `pvc.weights.mismatch` found; braces take its facts."""


def _other_base(error: Any) -> str:
    if error.renamed:
        before, after = error.renamed
        return (
            f"The tensors may be the same under other names ({before} is called {after}): save "
            "base and checkpoint with the same version of transformers."
        )
    if error.mismatch:
        return _MISMATCHES[error.mismatch.cause].format(*error.mismatch.facts, path=error.path)
    return "Run `pvc show base` to see the base; a repository has only one."


def _unknown_origin(error: Any) -> str:
    text = "State what it was trained from: `--onto base`, `--onto HEAD` or `--onto REV`."
    if not error.readings:
        return text
    lines = [f"{text} HEAD would become"]
    width = max(len(one.onto) for one in error.readings)
    for one in error.readings:
        if one.personality is None:
            outcome = f"what it is: this is refused. {one.refusal}"
        else:
            weights = "the weights of" if one.is_source else "a sum, not the weights of"
            outcome = f"{one.personality}: {weights} {error.where}"
        lines.append(f"  --onto {one.onto:{width}}  {outcome}")
    lines.append("`--aside` leaves HEAD as it is; `[commit] onto` in pvc.toml is for every commit.")
    return "\n".join(lines)


def _same_weights(error: Any) -> str:
    if any(path.endswith(".safetensors") for path in error.files):
        return (
            "The base of this repository does not have these weights: create a repository with a "
            "base that has, `pvc init DIR --base BASE`."
        )
    return (
        "pvc keeps weights as vectors, and other files only with them: keep these elsewhere, or "
        "save what was trained as safetensors."
    )


def _guess(error: Any) -> str | None:
    return f"Did you mean {' or '.join(error.close)}?" if error.close else None


def _unknown(error: Any) -> str:
    return _guess(error) or (
        "Use `pvc log`, `pvc branch` and `pvc tag` to list revisions, and `pvc log NAME` to find "
        "the commits with a vector."
    )


def _no_branch(error: Any) -> str:
    return _guess(error) or (
        "Use `pvc branch` to list branches and `pvc switch -c NAME` to create one. Use `pvc "
        "checkout` for any other revision."
    )


def _vector_name(error: Any) -> str | None:
    from pvc.repo.personality.vector_names import is_name

    plain = unicodedata.normalize("NFKD", error.name).encode("ascii", "ignore").decode()
    close = re.sub(r"[^A-Za-z0-9_.]+", "_", plain).strip("_.")
    return f"Use {close}." if is_name(close) and close != error.name else None


def _no_weights(error: Any) -> str:
    place = error.path
    if not place.exists() and not place.parent.exists():  # a model's name on the hub has two parts
        return (
            f"{_SAVED} pvc downloads none: for a model of the hub, run `hf download "
            f"{place.parent.name}/{place.name} --local-dir {place.name}`, then give {place.name}."
        )
    inside = sorted(found.parent for found in error.path.glob("*/*.safetensors"))
    return f"Did you mean {inside[0]}?" if inside else _SAVED


def _drifted(error: Any) -> str:
    if all(name.startswith("/") for name in error.names):
        return "Move the directory away, or check out to another one with `--to DIR`."
    return (
        f"Commit its weights with `pvc commit NAME --from {error.path} --aside`, or check out to "
        "another directory with `--to DIR`."
    )


def _dependent(error: Any) -> str:
    if "the personality" in error.dependents:
        return "Remove its term from personality.toml first, then run `pvc commit -m MESSAGE`."
    return "Remove the vectors that depend on it first, with `pvc rm`."


def _would_be_lost(error: Any) -> str:
    return (
        f"Commit them with `pvc commit NAME --live {error.engine}` (perhaps with `--aside`), or "
        "use `--force` to overwrite them after saving them at a tag."
    )


def _repair(error: Any) -> str:
    return f"Run `pvc checkout REV --live {error.engine}` to repair it."


REFUSED: dict[str, Hint] = {
    "BusyError": "Wait until the other process has finished.",
    "HeldError": "Wait until it has finished; `pvc live ls` shows who holds an engine.",
    "MovedOnError": "Run the command again.",
    "NoPauseError": "Nothing was written. Run the command again when the steps are shorter.",
    "StrayedError": "Restart the engine, or share its model again.",
    "TornError": _repair,
}
"""Hints by the name of the class that an engine raised: all of it that an answer carries."""


def _refused(error: Any) -> str | None:
    return _text(REFUSED.get(error.kind), error)


HINTS: dict[str, Hint] = {
    "pvc.live.announced.folder:NotPrivateError": "If it is yours, run `chmod go= PATH` on it; "
    "otherwise remove it.",
    "pvc.live.announced.registry:EngineEndedError": "Start it again. `pvc status` shows its last "
    "revision.",
    "pvc.live.announced.registry:NoEngineError": "Use `pvc live ls` to list running engines (vLLM "
    "appears once its model is loaded), or `pvc serve DIR` to start one.",
    "pvc.live.commands.choice:EndedEnginesError": "Name one that runs, or start yours again; `pvc "
    "forget --live ENGINE` removes one that has ended for good.",
    "pvc.live.announced.registry:SeveralEnginesError": lambda error: (
        f"Name one, for example {error.known[0]}."
    ),
    "pvc.live.client.connection:RefusedError": _refused,
    "pvc.live.client.connection:UnreachableError": "Use `pvc live ls` to see which engines answer.",
    "pvc.live.client.engine_tensors:OtherFormError": "If another repository wrote to the engine, "
    "check out a revision there that both have, such as the base; otherwise restart the engine.",
    "pvc.live.client.model_check:OtherModelError": "Use `pvc live ls` to list the engines and `pvc "
    "show base` to see the base. The model must be loaded in the dtype of its checkpoint; `--dtype "
    "base` writes a tree that was committed in wider floats.",
    "pvc.live.client.reading:UnsteadyError": "Run the command again while the engine is not "
    "training.",
    "pvc.live.client.updating:DriftedEngineError": _would_be_lost,
    "pvc.live.commands.engine_content:TornEngineError": _repair,
    "pvc.live.commands.engine_content:UnknownWeightsError": _would_be_lost,
    "pvc.live.commands.restore:UnrecordedEngineError": "Use `pvc checkout REV --live ENGINE`.",
    "pvc.live.memory.sealed:RoomError": "Free some memory: blocks that change are held twice for a "
    "moment.",
    "pvc.live.protocol.manifest:EngineVersionError": "Restart the engine with this version of pvc, "
    "or use the version that it was started with.",
    "pvc.live.protocol.engine_state:OtherRepositoryError": "Use `pvc checkout REV --live --force` "
    "to take it over, which saves its weights at a tag first, or `pvc commit NAME --live --aside` "
    "to commit them.",
    "pvc.repo.build.builds:UnkeptTreeError": _COPY,
    "pvc.repo.build.tensor_routes:QuantisedError": "One vector at scale 1 is exact. For sums, "
    "dequantise base and results to bf16, and create a repository with that base.",
    "pvc.repo.build.overflow:NotFiniteError": "Use smaller scales, or a base of a wider kind; "
    "`--allow-nonfinite` writes Inf and NaN all the same.",
    "pvc.repo.commands.branches:BranchAndTagError": "Choose another name, or delete the existing "
    "one with `-d`.",
    "pvc.repo.commands.branches:NoBranchError": _no_branch,
    "pvc.repo.commands.checkout_dtypes:OtherDtypeError": "Use `--dtype base`, or leave it out: "
    "what was committed then keeps its dtypes.",
    "pvc.repo.commands.checkout_directory:BadPlaceError": "Give a directory of its own with `--to "
    "DIR`.",
    "pvc.repo.commands.checkout_directory:CopiedRepositoryError": "Give a directory of its own "
    "with `--to DIR`; `pvc forget DIR` removes the record that was copied.",
    "pvc.repo.commands.checkout_directory:ForeignDirectoryError": "Give a directory that does not "
    "exist yet.",
    "pvc.repo.commands.checkout_directory:MovedError": "Name the directory with `--to DIR`.",
    "pvc.repo.commands.checkout_directory:SeveralTargetsError": "Name one with `--to DIR`.",
    "pvc.repo.commands.commit:NonFiniteError": "Use `--allow-nonfinite` to commit it anyway.",
    "pvc.repo.commands.commit_action:AppliedError": "Use another name, or leave out `--aside`.",
    "pvc.repo.commands.commit_action:ContainedError": lambda error: (
        f"Use another name, such as {error.name}_2."
    ),
    "pvc.repo.commands.commit_edits:UnresolvedError": "Edit the text between <<<<<<< and >>>>>>>, "
    "or take a side with `git checkout --ours PATH` or `--theirs PATH`. `pvc merge --abort` goes "
    "back.",
    "pvc.repo.commands.commit_origin:OtherTreeError": lambda error: (
        "Use `--aside`, or `--onto HEAD`, which makes the rounding a part of the vector."
        if error.revision.endswith(" rounded")
        else "Use `--aside`, or run `pvc switch` to the branch that it was checked out from."
    ),
    "pvc.repo.commands.commit_origin:UnknownParentError": "State what it was trained from: "
    "`--onto base`, or a revision.",
    "pvc.repo.commands.named_parent:ParentIdError": "`pvc status --json` prints HEAD's as `tree`; "
    "`--onto` says it without the file.",
    "pvc.repo.commands.commit_source:OtherBaseError": _other_base,
    "pvc.repo.commands.diff_trees:MixedError": "Use `pvc diff NAME` for a vector, and `pvc diff "
    "REV REV` to compare weights.",
    "pvc.repo.commands.editing:DependentError": _dependent,
    "pvc.repo.commands.editing:NameTakenError": "Choose another name.",
    "pvc.repo.commands.forget:NoTargetError": "Use `pvc status` to list the targets.",
    "pvc.repo.commands.init:BaseAroundError": "Create it elsewhere: `pvc init DIR --base BASE`.",
    "pvc.repo.commands.init:ExistsError": "Run `pvc status` to see its state.",
    "pvc.repo.commands.merge_branch:MergeConflictError": "Both values are in the files: edit them "
    "and run `pvc commit -m MESSAGE`; or run `pvc merge --abort` and merge again with `--ours` or "
    "`--theirs`.",
    "pvc.repo.commands.origin_choice:UnknownOriginError": _unknown_origin,
    "pvc.repo.commands.revert:NotRevertibleError": "Use `pvc log` to list commits, and `pvc "
    "checkout REV` to go back without changing history.",
    "pvc.repo.commands.scale:RepeatedTermError": "Edit personality.toml and run `pvc commit -m "
    "MESSAGE`.",
    "pvc.repo.commands.three_way:ConflictError": "Edit personality.toml by hand and run `pvc "
    "commit -m MESSAGE`.",
    "pvc.repo.git.objects:UnknownRevisionError": _unknown,
    "pvc.repo.git.process:NoRepositoryError": "Create a repository with `pvc init --base DIR`, or "
    "use `pvc -C DIR` to work in one.",
    "pvc.repo.git.worktree:BlockedMoveError": "Commit or stash your edits (see `git status`), or "
    "use `--keep-head`.",
    "pvc.repo.git.worktree:UnfinishedError": lambda error: (
        "Conclude it with `pvc commit -m MESSAGE`, or abort it with `pvc merge --abort`."
        if error.operation == "merge"
        else "Finish or abort it with git."
    ),
    "pvc.repo.history.journal:JournalError": "No command can change anything while this file is "
    "here. Remove it, then check `git status` and `pvc status`; a directory that was being written "
    "is listed as changed.",
    "pvc.repo.history.recording:DetachedError": "Create a branch with `pvc switch -c NAME`.",
    "pvc.repo.history.recording:HeadMovedError": "Run the command again.",
    "pvc.repo.history.revision:AmbiguousError": "Choose another name, or rename one with `pvc mv` "
    "or `git branch -m`.",
    "pvc.repo.history.revision:UnknownOperandError": lambda error: (
        f"{error.pointer}\n{_unknown(error)}"
    ),
    "pvc.repo.history.recovery:UnsettledError": lambda error: (
        f"If {error.path} holds a training result, `pvc commit NAME --from {error.path}` keeps it. "
        "To check out there again, move it away first."
    ),
    "pvc.repo.personality.config:ConfigError": _AGAIN,
    "pvc.repo.personality.expression:ExpressionError": lambda error: error.pointer,
    "pvc.repo.personality.personality_file:PersonalityError": _AGAIN,
    "pvc.repo.personality.vector_file:VectorError": "pvc writes this file itself: run `git "
    "restore` on it.",
    "pvc.repo.personality.vector_names:VectorNameError": _vector_name,
    "pvc.repo.repository:EditedError": "Commit them with `pvc commit -m MESSAGE`, or drop them "
    "with `git restore PATH`.",
    "pvc.repo.repository:NoStoreError": lambda error: (
        f"Copy the store of a clone that has the weights to {error.folder}; there it is the folder "
        "pvc of what `git rev-parse --git-common-dir` prints."
    ),
    "pvc.repo.snapshot:NotPvcError": "Create a repository with `pvc init --base DIR`, or run `pvc "
    "switch` to a branch that pvc made.",
    "pvc.repo.snapshot:NoVectorError": "Use `pvc log NAME` to find the commits that had it.",
    "pvc.repo.targets.directory:DriftedError": _drifted,
    "pvc.repo.targets.directory:InTheWayError": "Move it away, or give another directory.",
    "pvc.repo.targets.directory:NoSpaceError": "Free some space, or give a directory on another "
    "disk.",
    "pvc.repo.targets.open_directory:LinkError": "Put the folder back, or give another directory "
    "with `--to DIR`.",
    "pvc.repo.targets.open_directory:ReplacedError": "Put the directory back, or run `pvc forget` "
    "on it and give another one with `--to DIR`.",
    "pvc.repo.targets.records:RecordError": lambda error: (
        "Remove this file: it is then not known what the engine had."
        if "/targets/engines/" in error.where
        else "Remove this file: pvc will then no longer treat the directory as a target. Or give "
        "another directory with `--to DIR`."
    ),
    "pvc.repo.targets.write_and_verify:VerificationError": "The disk or the memory may be failing. "
    "Run `pvc fsck` to check the store.",
    "pvc.repo.trees.blocks:MissingBaseError": "Put the base's files back, or use a repository that "
    "stores its base.",
    "pvc.repo.commands.same_weights:SameWeightsError": _same_weights,
    "pvc.weights.folder:NoWeightsError": _no_weights,
    "pvc.weights.folder:PickleError": "Load it where you trust it, and save it with "
    "`save_pretrained`.",
    "pvc.weights.whole:AdapterError": "Merge it into its base and save the whole model: "
    "`PeftModel.from_pretrained(base, ADAPTER).merge_and_unload().save_pretrained(DIR)`.",
    "pvc.weights.whole:EmptyWeightsError": "Gather them: `python zero_to_fp32.py . DIR "
    "--safe_serialization` in the folder of the DeepSpeed checkpoint, or train with "
    "`stage3_gather_16bit_weights_on_model_save`.",
    "pvc.weights.whole:MissingShardError": "Download or save the checkpoint again.",
    "pvc.weights.whole:PointerError": "Run `git lfs pull` in its folder.",
    "pvc_store.errors:DamageError": _FSCK,
    "pvc_store.errors:LockedError": lambda error: (
        "Wait until it has finished. If no git command is running, one was killed: remove the lock."
        if error.path.endswith("index.lock")
        else "Wait until the other process has finished, or use `pvc --wait SECONDS ...`."
    ),
    "pvc_store.errors:MissingError": _FSCK,
}
"""Hints by module and class of the error, which need not be loaded."""

RUN_AGAIN = ", and run the command again."
SYSTEM_HINTS = {
    errno.ENOSPC: f"Free some space{RUN_AGAIN}",
    errno.EDQUOT: f"Free some space{RUN_AGAIN}",
    errno.EIO: "The disk may be failing. Run `pvc fsck` to check the store.",
}
"""Hints by the number of an error of the system."""


def hint_of(error: BaseException) -> str | None:
    """The hint of an error: that of its nearest class that has one."""
    return _text(next((HINTS[name] for name in names_of(error) if name in HINTS), None), error)


def _text(hint: Hint | None, error: BaseException) -> str | None:
    return hint(error) if callable(hint) else hint
