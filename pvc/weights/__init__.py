"""Checkpoints: the folder of a model, its safetensors files and their tensors, read exactly.

1. `Checkpoint.open` lists the folder, decides which files are the checkpoint, reads the headers of
   the safetensors files and their index, and checks them against each other.  No weights are read.
2. `CheckpointReader` reads bytes of tensors by position, and notices files that were replaced.
3. `compare` tells whether two sets of tensors are of one model; `tensor_names` knows roles and
   layers.

It knows nothing of versions, git or the store.  Called by `pvc.repo` and `pvc.live`.

What can be wrong with a checkpoint; the message says which rule was broken:

    CheckpointError       a checkpoint is not what it should be
      NoWeightsError      the path is not a directory, or holds no safetensors file
      PickleError         weights only as pickles
      AdapterError        an adapter, not a model
      PointerError        a pointer of git-lfs in place of a file
      MissingShardError   numbered shards are missing
      EmptyWeightsError   weights are empty, not gathered
      FileNameError       a file's name cannot be stored
      UnreadableError     the operating system refuses
      ChangedError        a file is not the one that was opened
      WeightIndexError    the index of a sharded checkpoint is wrong
      HeaderError         a safetensors file breaks its format

Nothing is imported here: a command that only asks for stamps of files reads no checkpoint.

Tests: tests/weights/.
"""
