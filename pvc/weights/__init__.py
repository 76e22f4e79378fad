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

Nothing is imported here: a command that only asks for stamps of files reads no checkpoint.
"""
