"""The engine's side of an update, in the process that owns the weights.

1. `control` listens at the socket, and serves each client in a thread.
2. `keeper` admits one update at a time, checks that nothing was written since the client looked,
   and knows the engine's state: origin, phase, generation.
3. `writer` checks every staged block, and the block that it replaces; nothing is changed yet.
4. On commit `step_gate` holds new steps back, and waits for those under way.
5. `writer` copies and verifies; hooks of the `framework` run; steps go on.  If anything fails after
   the first byte was written, the engine is torn, and steps wait until an update repairs it.

`pytorch.share` and `vllm.vllm_engine` put these together.
Tests: tests/live/engine/.
"""
