"""The plugin that vLLM's API server calls, through the entry point `vllm.endpoint_plugins`.

    [project.entry-points."vllm.endpoint_plugins"]
    pvc = "pvc.live.vllm.endpoint:Endpoint"

vLLM loads it only if the environment variable VLLM_PLUGINS names it.  It adds no route: clients
talk to a Unix socket, see pvc.live.engine.control.
"""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvc.live.announced.folder import EngineFolder, check_name
from pvc.live.announced.registry import EngineNameTakenError
from pvc.live.vllm.ranks.meeting import Meeting
from pvc.live.vllm.refusals import BACKEND, check_config, has_backend, options
from pvc.live.vllm.steps import ServedSteps
from pvc.live.vllm.vllm_engine import VllmEngine
from pvc.live.vllm.weights_header import WeightsHeader

if TYPE_CHECKING:
    from argparse import Namespace

log = logging.getLogger("vllm.pvc")

ANOTHER_NAME = """Give it another name: --additional-config '{"pvc": {"name": "NAME"}}'."""


class Endpoint:
    """Opens the control socket of a server."""

    name = "pvc"
    required_tasks = None

    def attach_router(self, app: Any) -> None:
        """Add no route, but a header to replies."""
        app.add_middleware(WeightsHeader)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Announce the server as an engine.

        Raises:
            PvcError: that is not possible; the server does not start.
        """
        if engine_client is None or not has_backend(engine_client.vllm_config):
            log.warning("pvc: This server runs without the backend pvc, and shares no weights.")
            return
        config = engine_client.vllm_config
        check_config(config)
        count = config.parallel_config.world_size
        name, folder = _name(config), _folder(config)
        check_name(name)
        with Meeting() as meeting:
            await engine_client.collective_rpc(meeting.method, kwargs=meeting.arguments)
            ranks = await asyncio.to_thread(meeting.ranks, name, count)
        steps = ServedSteps(engine_client, asyncio.get_running_loop())
        try:
            state.pvc = await asyncio.to_thread(VllmEngine, ranks, steps, folder)
        except EngineNameTakenError:
            log.error("pvc: %s", ANOTHER_NAME)
            raise


def _name(config: Any) -> str:
    """The engine's name: from the additional config, else the last part of the model's path."""
    wanted = options(config).get("name")
    if wanted is not None:
        return str(wanted)
    model = Path(str(config.model_config.model)).absolute()  # "." has a name, too
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", model.name).lstrip("_.-")[:60] or BACKEND


def _folder(config: Any) -> EngineFolder:
    """Where the engine is announced."""
    found = options(config).get("folder")
    return EngineFolder(None if found is None else Path(str(found)))
