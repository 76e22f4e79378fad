"""Checkpoints and the tensors in them, read exactly and without opinion about versions.

What can be wrong with a checkpoint:

    CheckpointError                 root of what follows; a checkpoint is not what it should be
      NoFolderError                 the path is not a directory
      NoWeightsError                no safetensors file
      PickleError                   weights only as pickles
      AmbiguousWeightsError         several sets of weights
      FileNameError                 a file's name cannot be stored
      UnreadableError               the operating system refuses
      ChangedError                  a file is not the one that was opened
      DuplicateTensorError          two files hold one tensor
      WeightIndexError              the index of a sharded checkpoint is wrong
        IndexFormError  ShardNameError  MissingShardError  MissingTensorError
        UnindexedTensorError
      HeaderError                   a safetensors file breaks its format
        HeaderLengthError  HeaderJsonError  HeaderFormError  RepeatedNameError  TensorNameError
        UnknownDtypeError  DimensionsError  TensorSizeError  TensorOffsetError  FileLimitError
        HeaderRejectedError
        FileSizeError               TruncatedError  TrailingBytesError
"""

from pvc.weights.checkpoint import Checkpoint, DuplicateTensorError
from pvc.weights.compare import Difference, differences, first_differences, is_wider, renamed
from pvc.weights.errors import ChangedError, CheckpointError, UnreadableError
from pvc.weights.fingerprint import Fingerprint, Stamp
from pvc.weights.folder import LeftOut
from pvc.weights.header import TensorPlace, placements, shard_prefix
from pvc.weights.names import ROLES, layer, role
from pvc.weights.reader import CheckpointReader
from pvc.weights.shard import Shard

__all__ = [
    "ROLES",
    "ChangedError",
    "Checkpoint",
    "CheckpointError",
    "CheckpointReader",
    "Difference",
    "DuplicateTensorError",
    "Fingerprint",
    "LeftOut",
    "Shard",
    "Stamp",
    "TensorPlace",
    "UnreadableError",
    "differences",
    "first_differences",
    "is_wider",
    "layer",
    "placements",
    "renamed",
    "role",
    "shard_prefix",
]
