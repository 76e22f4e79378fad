"""The identity of a process, in a way that survives reuse of process ids and a reboot.

Limits: Linux.  A process of another PID namespace (another container) cannot be looked up from
here, so it is not taken for ended; see `pvc.live.announced.registry.load`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATE, _PARENT, _STARTED = (
    0,
    1,
    19,
)  # fields of /proc/PID/stat, counted from the one after the name
MAX_GENERATIONS = 100
_ENDED = {"Z", "X", "x"}


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process.

    Attributes:
        boot: the kernel's id of this boot.
        namespace: the PID namespace in which `pid` counts.
        pid: its process id.
        started: clock ticks from boot to its start.
    """

    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> ProcessIdentity:
        """This process."""
        pid = os.getpid()
        return cls(_boot(), _namespace(), pid, int(_stat(pid)[_STARTED]))

    @property
    def is_near(self) -> bool:
        """Whether its process id counts here."""
        return self.namespace == _namespace()

    def has_ended(self) -> bool:
        """Whether it is surely gone."""
        if self.boot != _boot():
            return True
        if not self.is_near:
            return False
        try:
            stat = _stat(self.pid)
        except OSError:
            return True
        return stat[_STATE] in _ENDED or int(stat[_STARTED]) != self.started

    def __str__(self) -> str:
        return f"process {self.pid}"


def is_descendant(pid: int, of: int) -> bool:
    """Whether a process is another one, or was started by it or by one that it started.

    Not known, and so False, of those whose parents ended before them, and of processes of another
    PID namespace, whose id is 0 here.
    """
    if pid <= 0 or of <= 0:
        return False
    for _ in range(MAX_GENERATIONS):
        if pid == of:
            return True
        try:
            pid = int(_stat(pid)[_PARENT])
        except OSError:
            return False
    return False


def _boot() -> str:
    return _BOOT.read_text().strip()


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def _stat(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_bytes().decode(errors="replace")
    return text.rpartition(")")[2].split()  # the name before may hold anything
