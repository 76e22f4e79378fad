"""Makes the golden files: `python -m tests.store.golden.make FOLDER`.

It was run once.  The files beside it are for ever: a reader of their formats must read them, and
must find in them what `SMALL_TREE` and the others below say.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pvc_store.block import BlockForm, Codec, EncodedBlock
from pvc_store.ids import block_key, object_id
from pvc_store.index import BlockIndex
from pvc_store.kinds import BYTES, KIND_BY_NAME
from pvc_store.layout import Layout, OtherFile, WeightsFile
from pvc_store.pack import PackWriter
from pvc_store.tree import Tensor, Tree

WEIGHT, TUNED, CONFIG = bytes(range(16)), bytes(range(100, 132)), b'{"n": 1}'

RAW = EncodedBlock(BlockForm(block_key(WEIGHT), 16, Codec.RAW, KIND_BY_NAME["BF16"]), WEIGHT)
PLANES = EncodedBlock(BlockForm(block_key(CONFIG), 8, Codec.PLANES, BYTES), b"plan")
DELTA = EncodedBlock(
    BlockForm(
        block_key(TUNED),
        32,
        Codec.DELTA,
        KIND_BY_NAME["F32"],
        block_key(WEIGHT),
        KIND_BY_NAME["BF16"],
        1,
    ),
    b"delta",
)
BLOCKS = (RAW, PLANES, DELTA)

SMALL_TREE = Tree(
    [
        Tensor("a", KIND_BY_NAME["BF16"], (2, 4), object_id(WEIGHT), block_key(WEIGHT)),
        Tensor("é", KIND_BY_NAME["F32"], (0, 3), object_id(b""), b""),
    ]
)
CHANGED_TREE = Tree(
    [SMALL_TREE["a"], Tensor("b", KIND_BY_NAME["F32"], (8,), object_id(TUNED), block_key(TUNED))]
)
SMALL_LAYOUT = Layout(
    [
        WeightsFile("model.safetensors", b"{}"),
        OtherFile("config.json", len(CONFIG), object_id(CONFIG), block_key(CONFIG)),
    ]
)


def main(folder: Path) -> None:
    """Write the five files."""
    writer = PackWriter(folder / "small.pack")
    for block in BLOCKS:
        writer.append(block)
    pack_id = writer.finish()
    (folder / "whole.tree").write_bytes(SMALL_TREE.to_bytes())
    (folder / "against_base.tree").write_bytes(CHANGED_TREE.to_bytes(SMALL_TREE))
    (folder / "small.layout").write_bytes(SMALL_LAYOUT.to_bytes())
    index = BlockIndex.of([(pack_id, writer.entries)])
    (folder / "small.index").write_bytes(index.to_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
