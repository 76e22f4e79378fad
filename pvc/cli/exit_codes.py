"""Exit codes: what each of them means, and which errors end with it."""

from __future__ import annotations

NO, USAGE = 1, 2
NO_REPOSITORY, LOCKED, DAMAGED, ENGINE, NAME, OTHER_BASE = 10, 11, 12, 13, 14, 15
NOT_FINITE, EDITED, PICKLE, OTHER = 16, 17, 18, 19
INTERRUPTED, CLOSED_PIPE, TERMINATED, BUG = 130, 141, 143, 255

EXIT_STATUS = (
    (0, "success"),
    (NO, "nothing to commit, a conflict, a difference, damage, or still in use"),
    (USAGE, "wrong command line"),
    (NO_REPOSITORY, "not in a pvc repository"),
    (LOCKED, "another process holds the lock"),
    (DAMAGED, "stored data is missing or damaged"),
    (ENGINE, "no such engine, or it refuses, or runs another model"),
    (NAME, "unknown, taken, ambiguous or invalid name"),
    (OTHER_BASE, "the checkpoint was not trained from the base"),
    (NOT_FINITE, "the checkpoint has NaN or Inf where its origin has numbers"),
    (EDITED, "uncommitted edits, an unfinished git operation or a detached HEAD"),
    (PICKLE, "the checkpoint is stored as pickles"),
    (OTHER, "any other error, such as a full disk"),
    (INTERRUPTED, "interrupted; nothing was changed"),
    (CLOSED_PIPE, "the output was closed"),
    (TERMINATED, "terminated; nothing was changed"),
    (BUG, "a bug in pvc"),
)

ERRORS = {
    NO: (
        "pvc.repo.commands.commit_edits:UnresolvedError",
        "pvc.repo.commands.editing:DependentError",
        "pvc.repo.commands.merge_branch:MergeConflictError",
        "pvc.repo.commands.merge_branch:NoMergeError",
        "pvc.repo.commands.revert:NotRevertibleError",
        "pvc.repo.commands.scale:RepeatedTermError",
        "pvc.repo.commands.three_way:ConflictError",
        "pvc.repo.commands.same_weights:SameWeightsError",
        "pvc.repo.history.recording:NothingChangedError",
    ),
    USAGE: (
        "pvc.live.announced.registry:SeveralEnginesError",
        "pvc.live.commands.choice:EndedEnginesError",
        "pvc.merge.method:ParameterError",
        "pvc.repo.commands.checkout_directory:MovedError",
        "pvc.repo.commands.checkout_directory:SeveralTargetsError",
        "pvc.repo.commands.combine:RepeatedVectorError",
        "pvc.repo.commands.diff_trees:MixedError",
        "pvc.repo.commands.scale:ScaleError",
    ),
    NO_REPOSITORY: (
        "pvc.repo.git.process:NoRepositoryError",
        "pvc.repo.repository:NoStoreError",
        "pvc.repo.snapshot:NotPvcError",
    ),
    LOCKED: ("pvc_store.errors:LockedError",),
    DAMAGED: (
        "pvc.repo.build.builds:UnkeptTreeError",
        "pvc.repo.targets.write_and_verify:VerificationError",
        "pvc.repo.trees.blocks:MissingBaseError",
        "pvc.repo.trees.put_block:CollisionError",
        "pvc_store.errors:DamageError",
        "pvc_store.errors:MissingError",
    ),
    ENGINE: (
        "pvc.live.announced.folder:NotPrivateError",
        "pvc.live.announced.registry:EngineEndedError",
        "pvc.live.announced.registry:NoEngineError",
        "pvc.live.client.connection:RefusedError",
        "pvc.live.client.connection:UnreachableError",
        "pvc.live.client.engine_tensors:OtherFormError",
        "pvc.live.client.model_check:OtherModelError",
        "pvc.live.client.reading:UnsteadyError",
        "pvc.live.client.updating:DriftedEngineError",
        "pvc.live.commands.engine_content:TornEngineError",
        "pvc.live.commands.engine_content:UnknownWeightsError",
        "pvc.live.memory.host:ReplicaError",
        "pvc.live.memory.sealed:SealError",
        "pvc.live.protocol.engine_state:OtherRepositoryError",
        "pvc.live.protocol.manifest:EngineVersionError",
        "pvc.live.protocol.manifest:ManifestError",
        "pvc.live.protocol.wire:PeerError",
    ),
    NAME: (
        "pvc.live.announced.folder:EngineNameError",
        "pvc.live.commands.restore:UnrecordedEngineError",
        "pvc.repo.commands.branches:BranchAndTagError",
        "pvc.repo.commands.editing:NameTakenError",
        "pvc.repo.commands.forget:NoTargetError",
        "pvc.repo.git.objects:UnknownRevisionError",
        "pvc.repo.history.revision:AmbiguousError",
        "pvc.repo.personality.expression:ExpressionError",
        "pvc.repo.commands.branches:RefNameError",
        "pvc.repo.personality.vector_names:VectorNameError",
        "pvc.repo.snapshot:NoVectorError",
    ),
    OTHER_BASE: ("pvc.repo.commands.commit_source:OtherBaseError",),
    NOT_FINITE: (
        "pvc.repo.build.overflow:NotFiniteError",
        "pvc.repo.commands.commit:NonFiniteError",
    ),
    EDITED: (
        "pvc.repo.git.worktree:BlockedMoveError",
        "pvc.repo.git.worktree:UnfinishedError",
        "pvc.repo.history.recording:DetachedError",
        "pvc.repo.history.recording:HeadMovedError",
        "pvc.repo.repository:EditedError",
    ),
    PICKLE: ("pvc.weights.folder:PickleError",),
}
"""Errors by exit code, each as its module and class: naming them so loads none of the modules.
A class that is not here ends with the code of its nearest parent that is, or with OTHER."""

CODES = {name: code for code, names in ERRORS.items() for name in names}


def names_of(error: BaseException) -> list[str]:
    """Module and name of an error's class and of all its parents, the class first."""
    return [f"{kind.__module__}:{kind.__name__}" for kind in type(error).__mro__]
