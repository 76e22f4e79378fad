"""Lock files of git commands that were killed; git itself never removes them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOCK_SECONDS = 2.0
"""How long another git command may hold a lock."""


def remove_stale(lock: Path, since: int = 0) -> bool:
    """Remove a lock file that nobody renews; whether it was there and is gone.

    Waits until it is LOCK_SECONDS old, since another git command may be at work.

    Args:
        lock: the lock file.
        since: when the command that was killed can have begun at the earliest, in nanoseconds
            since 1970; an older lock is somebody else's.
    """
    with contextlib.suppress(OSError):
        made = lock.stat().st_mtime_ns
        if made < since:
            return False
        age = max(0.0, time.time() - made / 1e9)
        time.sleep(max(0.0, LOCK_SECONDS - age))
        if lock.stat().st_mtime_ns == made:
            lock.unlink()
            return True
    return False
