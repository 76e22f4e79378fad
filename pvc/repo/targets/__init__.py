"""Targets: directories that weights are written to, and records of all targets.

A directory is created whole under another name, or brought from one tree to another (`directory`):

1. files whose header stays are patched block by block, the others replaced (`weights_file`);
2. every block is written, made durable, and read back (`write_and_verify`).

`draft` takes blocks while a tree is still computed.  `directory_record` and `engine_record` say
what pvc last wrote to a target; `records` finds them.

Called by checkouts, by recovery, and by whatever asks what a target holds.

Tests: tests/repo/targets/, tests/repo/commands/test_checkout.py.
"""
