"""Trees: the weights of a model as verified blocks in the store.

1. `capture` reads the tensors of a source (`tensor_source`) block by block, compares them with the
   base, and puts the new ones into the store (`put_block`); `statistics` is its result.
2. `blocks` reads raw blocks of stored trees back, each verified against its key; those of the base
   come from the user's own files where these still hold them.
3. `changes` compares two trees; `block_sides` and `tree_sides` count whose elements a result has;
   `norms` keeps sums of squares that were computed on the way.

`checked_file` is for caches and records: JSON with a check value inside.

Called by commits, builds, checkouts and comparisons.

Tests: tests/repo/trees/.
"""
