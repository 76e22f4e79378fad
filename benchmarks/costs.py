"""Where pvc's time goes: the functions that do the work are wrapped, and each is charged its own time.

    python -m benchmarks.costs --copies 12 --pairs dense wq --threads 2

A line for each step and cost: how often, wall seconds summed over the threads, processor seconds.
Wall time without processor time is waiting: for the disk, for the other threads, for the
interpreter's lock.  "other" is what no wrapped function accounts for, mostly Python between them.
Each step runs twice and the second run counts, so that imports and compilation are left out.

Limits: the wrappers cost about a microsecond a call.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRAPPED = (
    ("read new", "pvc.repo.capture:_TensorRun._read"),
    ("read base", "pvc.repo.blocks:BaseFiles.read"),
    ("read target", "pvc.repo.outfile:_key_at"),
    ("read pack", "pvc_store.packed:PackedBlocks.get"),
    ("compare", "pvc.repo.capture:same"),
    ("measure", "pvc.repo.difference:measure"),
    ("xxh3", "pvc_store.ids:xxhash.xxh3_128_digest"),
    ("xxh3", "pvc_store.ids:xxhash.xxh3_64_intdigest"),
    ("blake3", "pvc.repo.capture:blake3"),
    ("blake3", "pvc_store.pack:file_digest"),
    ("kernels", "pvc.codec.kernels:key_starts"),
    ("kernels", "pvc.codec.kernels:order"),
    ("kernels", "pvc.codec.kernels:difference"),
    ("kernels", "pvc.codec.kernels:scatter"),
    ("kernels", "pvc.codec.kernels:split"),
    ("kernels", "pvc.codec.kernels:join"),
    ("kernels", "pvc.codec.kernels:gather"),
    ("kernels", "pvc.codec.kernels:restore"),
    ("zstd", "pvc.codec.scratch:zstandard.ZstdCompressor"),
    ("zstd", "pvc.codec.scratch:zstandard.ZstdDecompressor"),
    ("write", "os:pwrite"),
    ("allocate", "os:posix_fallocate"),
    ("fsync", "os:fsync"),
    ("git", "subprocess:Popen"),
)
