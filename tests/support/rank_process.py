"""A worker of vLLM without an engine: it loads its part of models, and says where everything lies.

    python -m tests.support.rank_process RANK SIZE MEETING MODEL...

Into the folder of each model it writes its trace (`trace-RANK.json`) and every storage
(`storage-RANK-INDEX`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from pvc.live.vllm.tracing.trace import Trace, trace
from pvc.weights.checkpoint import Checkpoint
from tests.support.vllm_models import Workers


def main() -> None:
    rank, size, meeting, *folders = sys.argv[1:]
    workers = Workers(Path(meeting), int(rank), int(size))
    for folder in map(Path, folders):
        model = workers.load(folder)
        _write(folder, rank, trace(model, Checkpoint.open(folder).tensors))


def _write(folder: Path, rank: str, found: Trace) -> None:
    for index, storage in enumerate(found.storages):
        content = torch.empty(0, dtype=torch.uint8).set_(storage)
        (folder / f"storage-{rank}-{index}").write_bytes(content.numpy().tobytes())
    document = {
        "storages": len(found.storages),
        "regions": {name: list(map(asdict, regions)) for name, regions in found.regions.items()},
        "problems": dict(found.problems),
        "unmapped": sorted(found.unmapped),
    }
    (folder / f"trace-{rank}.json").write_text(json.dumps(document))


if __name__ == "__main__":
    main()
