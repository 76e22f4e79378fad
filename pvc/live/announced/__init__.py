"""Engines that can be found: a private folder with a manifest and a control socket for each.

An engine checks that its name is free, opens its socket, and writes its manifest last; when it ends
it removes both.  Who looks for engines reads all manifests, tells those whose process has ended
from those that run, and removes what the dead left.  All of it happens under one lock.  The folder
lies at one place for each user, /dev/shm/pvc-<uid>; nothing in it is trusted unless it belongs to
the user and is private.

Engines (`pytorch.share`, `vllm.vllm_engine`) announce themselves; `client.connection` finds them.
Tests: tests/live/announced/.
"""
