"""The plugin that vLLM calls in each of its processes: an entry of `vllm.general_plugins`.

    [project.entry-points."vllm.general_plugins"]
    pvc = "pvc.live.vllm.plugin:register"

It is called in the API server, the engine core, every worker, and while models are inspected: it is
cheap, may be called again, and never raises, since that would end the process.
"""

from __future__ import annotations

import logging
import re
import sys

log = logging.getLogger("vllm.pvc")

SUPPORTED = ((0, 32), (0, 33))
"""First version of vLLM that is supported, and first that is not; major and minor."""


def register() -> None:
    """Register the backend `pvc`, if this version of vLLM is supported."""
    version = str(getattr(sys.modules.get("vllm"), "__version__", "unknown"))
    if not is_supported(version):
        first, behind = (".".join(map(str, bound)) for bound in SUPPORTED)
        log.error(
            "pvc: The backend pvc is not available in vLLM %s: pvc supports %s and later versions "
            "before %s.", version, first, behind,
        )  # fmt: skip
        return
    try:
        from pvc.live.vllm.binding import install
    except (ImportError, AttributeError) as error:
        log.error("pvc: The backend pvc is not available in this vLLM: %s", error)
        return
    install()


def is_supported(version: str) -> bool:
    """Whether pvc was made for a version of vLLM, as vLLM writes it."""
    found = re.match(r"(\d+)\.(\d+)", version)
    first, behind = SUPPORTED
    return found is not None and first <= (int(found[1]), int(found[2])) < behind
