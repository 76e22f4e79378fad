"""An offline `vllm.LLM` as an engine.

llm = LLM(model, weight_transfer_config={"backend": "pvc"})
with pvc.live.attach(llm, "chat"):
    llm.generate(...)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvc.live.announced.folder import EngineFolder, check_name
from pvc.live.announced.registry import check_free
from pvc.live.vllm.ranks.meeting import Meeting
from pvc.live.vllm.refusals import UnsupportedEngineError, check_backend, check_config
from pvc.live.vllm.steps import OfflineSteps
from pvc.live.vllm.vllm_engine import VllmEngine

if TYPE_CHECKING:
    from pathlib import Path


def attach(llm: Any, name: str = "default", *, folder: Path | None = None) -> VllmEngine:
    """Make an engine of an `LLM`, so that pvc can read, verify and change its weights.

    Weights change between steps of it; what it generates may begin with the old ones and go on with
    the new ones.

    Args:
        llm: a `vllm.LLM`, made with `weight_transfer_config={"backend": "pvc"}`.
        name: the engine's name.
        folder: where engines are announced; None is the user's own.

    Raises:
        EngineNameError, EngineNameTakenError: it cannot be called so.
        UnsupportedEngineError: it was made without the backend, or is attached already.
        RankError: its ranks cannot be brought together.
        NotPrivateError, FolderError, ControlError: it cannot be announced.
    """
    check_name(name)
    place = EngineFolder(folder)
    check_free(place, name)
    engine = llm.llm_engine
    config = engine.vllm_config
    check_backend(config)
    check_config(config)
    if OfflineSteps.has(engine):
        raise UnsupportedEngineError(("it is attached already",))
    with Meeting() as meeting:
        engine.collective_rpc(meeting.method, kwargs=meeting.arguments)
        ranks = meeting.ranks(name, config.parallel_config.world_size)
    return VllmEngine(ranks, OfflineSteps(engine), place)
