"""Sharing a model: any PyTorch process becomes an engine.

    engine = pvc.share(model, name="chat")
    with engine.step():          # a training step, or a whole generation
        ...
    engine.close()

Needs torch, and runs in the process that owns the weights.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from pvc.live import sealed
from pvc.live.control import Control
from pvc.live.folder import Folder, check_name
from pvc.live.gate import Gate
from pvc.live.keeper import Hooks, Keeper
from pvc.live.manifest import Manifest, Storage
from pvc.live.memory import HostMemory, HostWritable
from pvc.live.placing import HOST, Placement, UnshareableError, is_plain
from pvc.live.process import Process
from pvc.live.registry import announcing, check_free
from pvc.live.writer import Writer
from pvc.repo.workers import default_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pvc.live.memory import Memory, Writable
    from pvc.live.state import Origin, State


def share(
    model: torch.nn.Module,
    name: str = "default",
    *,
    tensors: Mapping[str, torch.Tensor] | None = None,
    committed: Callable[[Origin], None] | None = None,
    folder: Path | None = None,
) -> Engine:
    """Share the weights of a model, so that pvc can read, verify and change them.

    Its parameters and buffers stay the objects that they are; training in place goes on.  Every
    call of the model is a step, between which new weights are written; see `Engine.step` for longer
    ones.

    Args:
        model: the model, on one device; all of it.
        name: what people call the engine.
        tensors: its tensors by the names that checkpoints give them; None takes its state dict.
        committed: called after new weights were written, before steps go on; if it raises, the
            engine stays paused.
        folder: where engines are announced; None is the user's own.

    Raises:
        EngineNameError, EngineNameTakenError: it cannot be called so.
        UnshareableError, DeviceError: a tensor cannot be shared.
        RoomError: there is too little memory; the model is as it was.
        NotPrivateError, FolderError, ControlError: it cannot be announced.
    """
    check_name(name)
    place = Folder(folder)
    check_free(place, name)
    with contextlib.ExitStack() as undo:
        named = _named(model) if tensors is None else dict(tensors)
        shared = _Shared(_place(named, model), undo)
        manifest = shared.manifest(name, type(model).__name__)
        writer = Writer(manifest, shared.memories, shared.targets, default_threads())
        watch = _Watch(named)
        hooks = Hooks(watch.stamp, watch.written, committed or (lambda _: None))
        gate = Gate()
        keeper = Keeper(writer, gate, hooks)
        undo.callback(keeper.close)
        with announcing(place, name):
            undo.callback(Control(place, name, keeper, shared.descriptors).close)
            place.write(name, manifest.to_bytes())
        undo.callback(place.remove, name)
        return Engine(manifest, gate, keeper, _hook(model, gate), undo.pop_all())


class Engine:
    """A model whose weights are shared; made by `share`."""

    def __init__(
        self,
        manifest: Manifest,
        gate: Gate,
        keeper: Keeper,
        hooked: contextlib.ExitStack,
        closing: contextlib.ExitStack,
    ) -> None:
        self.manifest = manifest
        self._gate = gate
        self._keeper = keeper
        self._hooked = hooked
        self._closing = closing
        self._pid = os.getpid()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """New weights are written before or after the block, not within.

        A training step, or a generation that is to come from one set of weights, belongs in one;
        steps may be nested in one thread.  While one thread is in a step it must not wait for a
        step of another.
        """
        with self._gate.step():
            yield

    def unhook(self) -> None:
        """From now on only `step` is a step, and a call of the model is none."""
        self._hooked.close()

    @property
    def state(self) -> State:
        """What is known of its weights."""
        return self._keeper.state()

    def close(self) -> None:
        """Stop sharing; the model keeps its weights, and steps that wait go on."""
        if os.getpid() != self._pid:  # a fork of the engine is none
            return
        self.unhook()
        self._closing.close()
        atexit.unregister(self.close)


def _hook(model: torch.nn.Module, gate: Gate) -> contextlib.ExitStack:
    """Let every call of a module be a step, until the result is closed."""

    def before(*_: object) -> None:
        gate.enter()

    def after(*_: object) -> None:
        gate.leave()

    hooked = contextlib.ExitStack()
    hooked.callback(model.register_forward_pre_hook(before, prepend=True).remove)
    hooked.callback(model.register_forward_hook(after, always_call=True).remove)
    return hooked


_claimed: set[int] = set()
"""Addresses of the storages that engines of this process share."""


def _place(named: Mapping[str, torch.Tensor], model: torch.nn.Module) -> Placement:
    for name, tensor in named.items():
        if _address(tensor) in _claimed:
            raise UnshareableError(name, "another engine of this process shares it")
    return Placement(named, _all_tensors(model))


def _address(tensor: torch.Tensor) -> int:
    has_one = is_plain(tensor) and tensor.device.type != "meta" and tensor.numel()
    return tensor.untyped_storage().data_ptr() if has_one else 0


class _Shared:
    """The storages of a placement, shared."""

    def __init__(self, placement: Placement, undo: contextlib.ExitStack) -> None:
        self._placement = placement
        self.descriptors: list[int] = []
        self.storages: list[Storage] = []
        self.memories: list[Memory] = []
        self.targets: list[Writable] = []
        self._index: dict[int, int] = {}
        self._share_devices()
        if placement.host_bytes:
            self._share_host(undo)
        addresses = {_address(entry.tensor) for entry in placement.entries} - {0}
        _claimed.update(addresses)
        undo.callback(_claimed.difference_update, addresses)

    def manifest(self, name: str, model: str) -> Manifest:
        placement = self._placement
        tensors = {
            entry.name: entry.live(self._index.get(id(entry.group), 0))
            for entry in placement.entries
        }
        return Manifest(
            name, model, Process.current(), tuple(self.storages), tensors, placement.ties()
        )

    def _share_host(self, undo: contextlib.ExitStack) -> None:
        nbytes = self._placement.host_bytes
        fd = sealed.create("shared weights", nbytes)
        try:
            mapped = sealed.map_writable(fd, nbytes)
            self._placement.move(fd, mapped)
            sealed.seal(fd, sealed.WEIGHTS_SEALS)
            descriptor = sealed.read_only(fd)
        finally:
            os.close(fd)
        undo.callback(os.close, descriptor)
        for group in self._placement.groups(HOST):
            self._index[id(group)] = len(self.storages)
        self.descriptors.append(descriptor)
        self.storages.append(Storage(0, HOST, nbytes, {}))
        memory = HostMemory(np.frombuffer(mapped, np.uint8))
        self.memories.append(memory)
        self.targets.append(HostWritable(memory))

    def _share_devices(self) -> None:
        groups = list(self._placement.groups("cuda"))
        if not groups:
            return
        from pvc.live.cuda import CudaMemory, CudaWritable, export

        for group in groups:
            self._index[id(group)] = len(self.storages)
            data = torch.empty(0, dtype=torch.uint8, device=group.device).set_(
                group.views[0].untyped_storage()
            )
            device, handle = export(data)
            self.storages.append(Storage(0, device, group.nbytes, handle))
            self.memories.append(CudaMemory(data))
            self.targets.append(CudaWritable(data))


class _Watch:
    """Counts what torch writes to tensors in place."""

    def __init__(self, named: Mapping[str, torch.Tensor]) -> None:
        self._tensors = {
            name: tensor for name, tensor in named.items() if not tensor.is_inference()
        }
        unique = {id(tensor): tensor for tensor in self._tensors.values()}
        self._unique = list(unique.values())

    def stamp(self) -> int:
        return sum(tensor._version for tensor in self._unique)  # noqa: SLF001  # documented

    def written(self, names: Sequence[str]) -> None:
        """Let a backward pass that remembers old weights fail rather than compute with new ones."""
        for name in names:
            if name in self._tensors:
                torch.autograd.graph.increment_version(self._tensors[name])


def _named(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = model.state_dict(keep_vars=True)
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _all_tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """All that a model holds: also buffers that are not saved, and tensors that are attributes."""
    for module in model.modules():
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)
        yield from (value for value in vars(module).values() if isinstance(value, torch.Tensor))
