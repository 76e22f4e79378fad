"""What pvc takes from vLLM: the backend that vLLM makes in every worker.

vLLM 0.32; see `plugin.SUPPORTED`.  It makes the backend in every worker right after it has loaded
the model, before it profiles, compiles and captures: that is when weights can still move.

Limits: vLLM on CPUs packs linear weights into a form of its own and throws the others away.  While
a vLLM with this backend loads a model, that is prevented for matrices; they are multiplied by
PyTorch then, which is slower.  It can be asked for all the same; see `refusals.keeps_packing`.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import snapshot_download

from pvc.live.vllm.loader.vllm_modules import LINEAR, VllmModules
from pvc.live.vllm.ranks.rank import Rank
from pvc.live.vllm.ranks.share_part import WorkerModel
from pvc.live.vllm.refusals import (
    BACKEND,
    UnsupportedEngineError,
    check_config,
    has_backend,
    keeps_packing,
)
from pvc.live.vllm.tracing.cache import LoaderSetting, TraceCache
from pvc.live.vllm.vllm_api import (
    VERSION,
    WeightTransferEngine,
    WeightTransferEngineFactory,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
    current_platform,
    envs,
    get_current_vllm_config_or_none,
    get_pp_group,
    get_tp_group,
    get_world_group,
    layer_utils,
)

if TYPE_CHECKING:
    import torch

    from pvc.live.vllm.vllm_api import VllmConfig, WeightTransferConfig

log = logging.getLogger("vllm.pvc")


def install() -> None:
    """Register the backend; may be called again."""
    if BACKEND not in WeightTransferEngineFactory._registry:  # noqa: SLF001  # cannot be asked
        WeightTransferEngineFactory.register_engine(BACKEND, Backend)
        if current_platform.is_cpu():
            _keep_matrices()


@dataclass
class JoinCall(WeightTransferInitInfo):
    """Where the process is that all ranks are to join; see `pvc.live.vllm.ranks.meeting`."""

    address: str


@dataclass
class NoUpdate(WeightTransferUpdateInfo):
    """Updates do not come this way."""


class Backend(WeightTransferEngine[JoinCall, NoUpdate]):
    """One worker's weights, shared."""

    init_info_cls = JoinCall
    update_info_cls = NoUpdate
    supports_draft_weight_update = False

    def __init__(
        self,
        config: WeightTransferConfig,
        vllm_config: VllmConfig,
        device: torch.device,
        model: torch.nn.Module,
    ) -> None:
        super().__init__(config, vllm_config, device, model)
        check_config(vllm_config)
        if current_platform.is_cpu() and not keeps_packing(vllm_config):
            log.info("pvc: Linear weights stay as they were loaded; vLLM's packing is off.")
        cache, setting = TraceCache(Path(envs.VLLM_CACHE_ROOT) / "pvc"), _setting(vllm_config)
        worker = WorkerModel(
            model,
            _folder(vllm_config.model_config),
            functools.partial(cache.trace, setting=setting),
            VllmModules(vllm_config, cache, setting),
        )
        self._rank = Rank(worker, get_world_group().rank)

    def init_transfer_engine(self, init_info: JoinCall) -> None:
        """Join the process that clients talk to."""
        self._rank.join(init_info.address)

    def start_weight_update(self) -> None:
        """Refuse: weights come from pvc's clients only."""
        raise UnsupportedEngineError(("weights of the backend pvc are changed by pvc only",))

    def receive_weights(self, update_info: NoUpdate) -> None:
        """Refuse, as `start_weight_update`."""
        self.start_weight_update()

    def finish_weight_update(self) -> None:
        """Refuse, as `start_weight_update`."""
        self.start_weight_update()

    def shutdown(self) -> None:
        """Leave; the weights stay where they are."""
        self._rank.leave()


def _setting(config: VllmConfig) -> LoaderSetting:
    """What decides how a model is loaded."""
    tensor, pipeline = get_tp_group(), get_pp_group()
    return LoaderSetting(
        model=config.model_config.compute_hash(),
        engine=f"vllm {VERSION}",
        tensor_rank=tensor.rank_in_group,
        tensor_size=tensor.world_size,
        pipeline_rank=pipeline.rank_in_group,
        pipeline_size=pipeline.world_size,
    )


def _folder(model: Any) -> Path:
    """Where the model's checkpoint is; it has just been loaded, so it is on this machine."""
    folder = Path(model.model)
    if folder.is_dir():
        return folder
    return Path(snapshot_download(model.model, revision=model.revision, local_files_only=True))


def _keep_matrices() -> None:
    """Let vLLM on CPUs compute with the weights that were loaded, not with packed copies."""
    packing = layer_utils.dispatch_cpu_unquantized_gemm

    @functools.wraps(packing)
    def dispatch(layer: torch.nn.Module, remove_weight: bool) -> None:
        config = get_current_vllm_config_or_none()
        ours = config is not None and has_backend(config) and not keeps_packing(config)
        if not ours or layer.weight.ndim != 2:
            packing(layer, remove_weight)
            return
        vars(layer)["cpu_linear"] = LINEAR

    layer_utils.dispatch_cpu_unquantized_gemm = dispatch
