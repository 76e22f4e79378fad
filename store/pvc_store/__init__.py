"""The object store of pvc: blocks, packs, trees, layouts.  Bytes only.

It knows neither tensors as numbers nor git nor terminals, and imports no framework.
"""

from pvc_store.block import BLOCK_BYTES, BlockForm, Codec, EncodedBlock, Entry
from pvc_store.errors import (
    DamageError,
    FormatError,
    LockedError,
    MissingError,
    PvcError,
    StoreError,
)
from pvc_store.files import FileStore
from pvc_store.kinds import BYTES, KIND_BY_NAME, Kind
from pvc_store.layout import Layout, OtherFile, WeightsFile
from pvc_store.memory import MemoryStore
from pvc_store.store import Damage, Reading, Store, Writing
from pvc_store.tree import Tensor, Tree

__all__ = [
    "BLOCK_BYTES",
    "BYTES",
    "KIND_BY_NAME",
    "BlockForm",
    "Codec",
    "Damage",
    "DamageError",
    "EncodedBlock",
    "Entry",
    "FileStore",
    "FormatError",
    "Kind",
    "Layout",
    "LockedError",
    "MemoryStore",
    "MissingError",
    "OtherFile",
    "PvcError",
    "Reading",
    "Store",
    "StoreError",
    "Tensor",
    "Tree",
    "WeightsFile",
    "Writing",
]
