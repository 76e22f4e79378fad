"""Where a checkpoint's tensors lie in a model: its own loader is run again, and watched.

1. `trace` gives the loader tensors of the right shape and dtype, without data.
2. `recorder` sees each operation; a copy into the model says which bytes go where.  Nothing is
   written; what the loader replaces is put back by `model_tensors`.
3. `overlap` finds tensors that are loaded over others, by `coverage`, which counts how often bytes
   are covered by strided regions.
4. `cache` keeps what was found in a file, for the next start.

Fused, stacked, sharded and transposed parameters need no tables.  `ranks.share_part` uses this.
Tests: tests/live/vllm/tracing/.
"""
