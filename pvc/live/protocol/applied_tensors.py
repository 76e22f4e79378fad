"""What was last applied to the tensors of an engine that cannot be read.

An engine that keeps a tensor in another form remembers which bytes that was made of, by digest and
keys.  Where it does not know, both are zeros, which no tensor has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvc_store.ids import ID_BYTES, KEY_BYTES
from pvc_store.tree import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.live.protocol.manifest import LiveTensor, Manifest
    from pvc.strict_json import Fields


def unknown(tensor: LiveTensor | Tensor) -> Tensor:
    """A tensor of unknown bytes: digest and keys are zeros."""
    keys = bytes(KEY_BYTES * tensor.block_count)
    return Tensor(tensor.name, tensor.kind, tensor.shape, bytes(ID_BYTES), keys)


def to_json(tensors: Iterable[Tensor]) -> dict[str, Any]:
    """The form in messages."""
    return {
        "tensors": [
            {"name": one.name, "digest": one.digest.hex(), "keys": one.keys.hex()}
            for one in tensors
        ]
    }


def parse(fields: Fields, manifest: Manifest) -> dict[str, Tensor]:
    """Read the form in messages; tensors that it does not name are of unknown bytes."""
    found = {name: unknown(manifest.tensors[name]) for name in manifest.indirect}
    for part in fields.parts("tensors"):
        name = part.text("name")
        if name not in found:
            raise part.wrong(f"it names {name[:80]!r}, which is direct or not there")
        form = manifest.tensors[name]
        digest = part.raw("digest", ID_BYTES)
        keys = part.raw("keys", KEY_BYTES * form.block_count)
        part.finish()
        found[name] = Tensor(name, form.kind, form.shape, digest, keys)
    fields.finish()
    return found
