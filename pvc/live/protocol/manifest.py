"""The manifest of an engine: its name, process and memory, and where its tensors lie.

See docs/format/engine-manifest.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pvc.errors import MalformedError
from pvc.live.protocol.process import ProcessIdentity
from pvc.live.protocol.region import Region, strips
from pvc.strict_json import Fields, JsonError, parse
from pvc_store.kinds import KIND_BY_NAME, Kind
from pvc_store.tree import block_count

if TYPE_CHECKING:
    from pvc.live.protocol.region import MemoryPiece

FORMAT = "pvc engine 2"
"""Of the manifest, and of the messages at the control socket."""


class ManifestError(MalformedError):
    """A manifest is malformed."""


class EngineVersionError(ManifestError):
    """An engine was started by another version of pvc.

    Attributes:
        found: the format of its manifest and messages.
        process: whose engine it is, if its manifest says so as those of this version do.
    """

    def __init__(self, where: str, found: str, process: ProcessIdentity | None) -> None:
        super().__init__(where, f"its format is {found!r}, and {FORMAT!r} is expected")
        self.found = found
        self.process = process

    def __str__(self) -> str:
        return (
            f"The engine of {self.where} was started by another version of pvc, which speaks "
            f"{self.found[:60]!r}; this one speaks {FORMAT!r}."
        )


@dataclass(frozen=True, slots=True)
class Storage:
    """A stretch of an engine's memory.

    Attributes:
        rank: the worker that it belongs to.
        device: "cpu", or the UUID of a GPU, as "cuda:GPU-...".
        nbytes: its size.
        handle: what another process needs to open device memory; empty for the host's, whose
            descriptors come over the socket.
    """

    rank: int
    device: str
    nbytes: int
    handle: dict[str, Any]


@dataclass(frozen=True)
class LiveTensor:
    """A tensor of an engine, under the name that checkpoints give it.

    Attributes:
        name: its name.
        kind: numeric kind.
        shape: its dimensions.
        direct: whether its regions hold exactly its bytes, so that they can be read and written.
        regions: where it lies; parts that several ranks hold occur several times.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    direct: bool
    regions: tuple[Region, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return self.kind.bytes_of(self.shape)

    @property
    def block_count(self) -> int:
        """Number of its blocks."""
        return block_count(self.nbytes)

    @cached_property
    def strips(self) -> tuple[MemoryPiece, ...]:
        """Its rows in memory."""
        item = self.kind.bits // 8
        return tuple(strip for region in self.regions for strip in strips(region, item))


@dataclass(frozen=True)
class Manifest:
    """The description of an engine that clients read.

    Attributes:
        name: its name.
        model: what runs in it, for people.
        process: the process that answers at its socket.
        storages: its memory.
        tensors: name -> tensor.
        ties: groups of names that are one tensor in memory; the first is the one to save.
        groups: tensors that are not direct and can be changed by the model's loader: all of a
            group at once, each as a whole.
        unloaded: names of tensors of the checkpoint that the model's loader leaves out.
    """

    name: str
    model: str
    process: ProcessIdentity
    storages: tuple[Storage, ...]
    tensors: dict[str, LiveTensor]
    ties: tuple[tuple[str, ...], ...]
    groups: tuple[tuple[str, ...], ...] = ()
    unloaded: tuple[str, ...] = ()

    @cached_property
    def indirect(self) -> frozenset[str]:
        """The tensors that are not direct."""
        return frozenset(name for name, tensor in self.tensors.items() if not tensor.direct)

    @cached_property
    def grouped(self) -> frozenset[str]:
        """The tensors of all groups."""
        return frozenset(name for group in self.groups for name in group)

    @cached_property
    def tied_to(self) -> dict[str, str]:
        """Every name that is not the first of its group -> the first."""
        return {name: group[0] for group in self.ties for name in group[1:]}

    def to_bytes(self) -> bytes:
        """The JSON that is stored."""
        return json.dumps(self.to_json()).encode()

    def to_json(self) -> dict[str, Any]:
        """Its form in messages."""
        process = self.process
        return {
            "format": FORMAT,
            "name": self.name,
            "model": self.model,
            "boot": process.boot,
            "namespace": process.namespace,
            "pid": process.pid,
            "started": process.started,
            "storages": [
                {"rank": s.rank, "device": s.device, "nbytes": s.nbytes, "handle": s.handle}
                for s in self.storages
            ],
            "tensors": [_tensor_json(tensor) for tensor in self.tensors.values()],
            "ties": self.ties,
            "groups": self.groups,
            "unloaded": self.unloaded,
        }

    @classmethod
    def parse(cls, data: bytes, where: str) -> Manifest:
        """Read the JSON strictly; every region lies within its storage and its tensor.

        Raises:
            EngineVersionError: it is of another version.
            ManifestError: it is malformed.
        """
        try:
            return cls.read(Fields(parse(data), where, ManifestError))
        except JsonError as error:
            raise ManifestError(where, f"it is not JSON ({error})") from None

    @classmethod
    def read(cls, fields: Fields) -> Manifest:
        """Read the form in messages, as strictly."""
        if (found := fields.text("format")) != FORMAT:
            raise EngineVersionError(fields.where, found, _process_if_any(fields))
        name, model = fields.text("name"), fields.text("model")
        process = _process(fields)
        storages = tuple(map(_storage, fields.parts("storages")))
        listed = [_tensor(part, storages) for part in fields.parts("tensors")]
        tensors = {tensor.name: tensor for tensor in listed}
        ties, groups = tuple(fields.lists("ties")), tuple(fields.lists("groups"))
        unloaded = fields.texts("unloaded")
        fields.finish()
        if len(tensors) != len(listed):
            raise fields.wrong("two of its tensors have one name")
        if not all(name in tensors for group in ties for name in group):
            raise fields.wrong("it ties a tensor that it does not list")
        grouped = [name for group in groups for name in group]
        if len(set(grouped)) != len(grouped):
            raise fields.wrong("a tensor is in two of its groups")
        if not all(name in tensors and not tensors[name].direct for name in grouped):
            raise fields.wrong("a group of it has a tensor that is direct or not listed")
        return cls(name, model, process, storages, tensors, ties, groups, unloaded)


def _process(fields: Fields) -> ProcessIdentity:
    boot, namespace = fields.text("boot"), fields.text("namespace")
    return ProcessIdentity(boot, namespace, fields.number("pid"), fields.number("started"))


def _process_if_any(fields: Fields) -> ProcessIdentity | None:
    try:
        return _process(fields)
    except ManifestError:
        return None


def _tensor_json(tensor: LiveTensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "kind": tensor.kind.name,
        "shape": tensor.shape,
        "direct": tensor.direct,
        "regions": [
            {
                "storage": region.storage,
                "offset": region.offset,
                "shape": region.shape,
                "stride": region.stride,
                "source_offset": region.source_offset,
                "source_stride": region.source_stride,
            }
            for region in tensor.regions
        ],
    }


def _storage(fields: Fields) -> Storage:
    found = Storage(
        fields.number("rank"), fields.text("device"), fields.number("nbytes"),
        fields.mapping("handle"),
    )  # fmt: skip
    fields.finish()
    return found


def _tensor(fields: Fields, storages: tuple[Storage, ...]) -> LiveTensor:
    name, kind_name = fields.text("name"), fields.text("kind")
    kind = KIND_BY_NAME.get(kind_name)
    if kind is None or kind.bits % 8:
        raise fields.wrong(f"the tensor {name} has the kind {kind_name}, which cannot be shared")
    shape, direct = fields.numbers("shape"), fields.flag("direct")
    tensor = LiveTensor(name, kind, shape, direct, tuple(map(_region, fields.parts("regions"))))
    fields.finish()
    for region in tensor.regions:
        _check_region(region, tensor, storages, fields)
    return tensor


def _region(fields: Fields) -> Region:
    region = Region(
        fields.number("storage"), fields.number("offset"),
        fields.numbers("shape"), fields.numbers("stride"),
        fields.number("source_offset"), fields.numbers("source_stride"),
    )  # fmt: skip
    fields.finish()
    return region


def _check_region(
    region: Region, tensor: LiveTensor, storages: tuple[Storage, ...], fields: Fields
) -> None:
    item = tensor.kind.bits // 8
    if region.storage >= len(storages):
        raise fields.wrong(f"the tensor {tensor.name} lies in a storage that is not listed")
    if not len(region.shape) == len(region.stride) == len(region.source_stride):
        raise fields.wrong(f"a region of the tensor {tensor.name} has too few strides or too many")
    dims = zip(region.shape, region.stride, region.source_stride, strict=True)
    if any(count > 1 and min(live, source) < item for count, live, source in dims):
        raise fields.wrong(f"elements of the tensor {tensor.name} overlap")
    if region.end(item) > storages[region.storage].nbytes:
        raise fields.wrong(f"the tensor {tensor.name} reaches beyond its storage")
    if region.source_end(item) > tensor.nbytes:
        raise fields.wrong(f"a region of the tensor {tensor.name} reaches beyond the tensor")
