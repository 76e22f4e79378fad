"""Clients of engines: connect, read and verify weights, and update them.

`connection` talks to the control socket of one engine and maps its memory.  `reading` computes the
keys of blocks in that memory, to verify it against a tree or to make a tree of it; it reads again
if the engine wrote meanwhile.  `updating` verifies the tree that the engine has, stages the blocks
in which the new one differs in sealed memory, and lets the engine prepare and commit them.
`engine_tensors` reads tensors by position, to be captured.  `model_check` tells whether a tree is
of an engine's model.  Nothing here writes to weights, or imports what runs in an engine's process.

`pvc.live.commands` and programs that use `pvc.live` call this.
Tests: tests/live/client/.
"""
