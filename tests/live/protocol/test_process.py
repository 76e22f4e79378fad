"""Which process started which."""

from __future__ import annotations

import os
import signal
import subprocess

from pvc.live.protocol.process import is_descendant


def test_descendants() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        try:
            assert is_descendant(os.getpid(), os.getpid())
            assert is_descendant(child.pid, os.getpid())
            assert is_descendant(grandchild, os.getpid())
            assert is_descendant(grandchild, child.pid)
            assert not is_descendant(os.getpid(), child.pid)
            assert not is_descendant(1, child.pid)
            assert not is_descendant(0, 0)  # processes of another PID namespace
            assert not is_descendant(0, os.getpid())
        finally:
            os.kill(grandchild, signal.SIGKILL)
    assert not is_descendant(grandchild, os.getpid())
