"""A vLLM as an engine: its ranks have joined, and clients can find it."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Self

from pvc.live.announced.registry import announcing
from pvc.live.engine.control import Control
from pvc.live.engine.framework import FrameworkHooks
from pvc.live.engine.keeper import Keeper
from pvc.wording import counted, shown

if TYPE_CHECKING:
    from pvc.live.announced.folder import EngineFolder
    from pvc.live.protocol.engine_state import ContentLabel, EngineState
    from pvc.live.protocol.manifest import Manifest
    from pvc.live.vllm.ranks.ranks import Ranks
    from pvc.live.vllm.steps import VllmSteps

log = logging.getLogger("vllm.pvc")


class VllmEngine:
    """An engine that is a vLLM; use it as a context, or close it.

    Args:
        ranks: its ranks, which it takes over.
        steps: its steps.
        folder: where engines are announced.

    Raises:
        EngineNameTakenError: it cannot be called as its manifest says.
        NotPrivateError, FolderError, ControlError: it cannot be announced.
    """

    def __init__(self, ranks: Ranks, steps: VllmSteps, folder: EngineFolder) -> None:
        self.manifest: Manifest = ranks.manifest
        self._pid = os.getpid()
        name = self.manifest.name

        def committed(origin: ContentLabel) -> None:
            steps.renew(origin.version)

        # Writes of vLLM itself to its weights are not counted; reading the weights shows them.
        hooks = FrameworkHooks(dict, lambda _: None, committed, ranks.check)
        with contextlib.ExitStack() as undo:
            undo.callback(ranks.close)
            undo.callback(steps.close)
            self._keeper = Keeper(ranks, steps, hooks)
            undo.callback(self._keeper.close)
            with announcing(folder, name):
                undo.callback(Control(folder, name, self._keeper, ranks.descriptors).close)
                folder.write(name, self.manifest.to_bytes())
            undo.callback(folder.remove, name)
            self._closing = undo.pop_all()
        atexit.register(self.close)
        log.info("pvc: This vLLM is the engine %s.", name)
        unloaded = self.manifest.unloaded
        if unloaded:
            log.warning(
                "pvc: vLLM does not load %s of the checkpoint (%s), and computes without: what a "
                "commit changes there alone has no effect in the engine %s.",
                counted(len(unloaded), "tensor"), shown(unloaded), name,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> EngineState:
        """The engine's state."""
        return self._keeper.state()

    def close(self) -> None:
        """Stop sharing; vLLM keeps its weights, and goes on."""
        if os.getpid() != self._pid:  # a fork of it is none
            return
        self._closing.close()
        atexit.unregister(self.close)
