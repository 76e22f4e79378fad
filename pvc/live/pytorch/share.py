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
import inspect
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import torch

from pvc.live.announced.folder import EngineFolder, check_name
from pvc.live.announced.registry import announcing, check_free
from pvc.live.engine.control import Control
from pvc.live.engine.framework import FrameworkHooks
from pvc.live.engine.keeper import Keeper
from pvc.live.engine.step_gate import StepGate
from pvc.live.engine.writer import Writer
from pvc.live.pytorch.placement import Placement, all_tensors
from pvc.live.pytorch.storages import SharedStorages
from pvc.live.pytorch.watch import Watch
from pvc.parallel import default_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path
    from types import FrameType

    from pvc.live.engine.step_gate import Find
    from pvc.live.protocol.engine_state import ContentLabel, EngineState
    from pvc.live.protocol.manifest import Manifest

_CALLED = torch.nn.Module._call_impl.__code__  # noqa: SLF001  # only its name, for `_call`
_CALL = _CALLED.co_filename, _CALLED.co_name


def share(  # noqa: PLR0913 - options, each by its name
    model: torch.nn.Module,
    name: str = "default",
    *,
    tensors: Mapping[str, torch.Tensor] | None = None,
    unloaded: Collection[str] = (),
    committed: Callable[[ContentLabel], None] | None = None,
    folder: Path | None = None,
) -> Engine:
    """Share the weights of a model, so that pvc can read, verify and change them.

    Its parameters and buffers stay the objects that they are; training in place goes on.  Every
    call of the model is a step, between which new weights are written; see `Engine.step` for longer
    ones.

    Args:
        model: the model, on one device; all of it.
        name: the engine's name.
        tensors: its tensors by the names that checkpoints give them; None takes its state dict.
        unloaded: tensors of the checkpoint that the model has no place for; nothing compares them.
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
    place = EngineFolder(folder)
    check_free(place, name)
    with contextlib.ExitStack() as undo:
        named = _named(model) if tensors is None else dict(tensors)
        shared = SharedStorages(Placement(named, all_tensors(model)), undo)
        manifest = replace(
            shared.manifest(name, type(model).__name__), unloaded=tuple(sorted(unloaded))
        )
        writer = Writer(manifest, shared.memories, shared.targets, default_threads())
        watch = Watch(model, named)
        hooks = FrameworkHooks(
            watch.counts, watch.written, committed or (lambda _: None), watch.check
        )
        gate = StepGate()
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
        gate: StepGate,
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
    def state(self) -> EngineState:
        """The engine's state."""
        return self._keeper.state()

    def close(self) -> None:
        """Stop sharing; the model keeps its weights, and steps that wait go on."""
        if os.getpid() != self._pid:  # a fork of the engine is none
            return
        self.unhook()
        self._closing.close()
        atexit.unregister(self.close)


class _Hook:
    """A hook of a module; in its copies, and where it is unpickled, it does nothing.

    Args:
        act: given what finds the call of the module that it belongs to.
    """

    def __init__(self, act: Callable[[Find], None] = lambda _: None) -> None:
        self._act = act

    def __call__(self, *_: object) -> None:
        self._act(_call)

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return _Hook, ()


def _call() -> FrameType | None:
    """The call of a module that runs a hook right now; None if torch calls it otherwise."""
    frame = inspect.currentframe()
    while frame is not None and (frame.f_code.co_filename, frame.f_code.co_name) != _CALL:
        frame = frame.f_back
    return frame


def _hook(model: torch.nn.Module, gate: StepGate) -> contextlib.ExitStack:
    """Let every call of a module be a step, until the result is closed."""
    hooked = contextlib.ExitStack()
    before, after = _Hook(gate.enter), _Hook(gate.leave)
    hooked.callback(model.register_forward_pre_hook(before, prepend=True).remove)
    hooked.callback(model.register_forward_hook(after, always_call=True).remove)
    return hooked


def _named(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = model.state_dict(keep_vars=True)
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
