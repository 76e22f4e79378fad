"""Offline vLLMs in a process of its own, told what to do by lines of JSON on its standard input."""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvc import live
from pvc.errors import PvcError

if TYPE_CHECKING:
    import torch

    from pvc.live.vllm.vllm_engine import VllmEngine

CACHE_BYTES = 64 << 20


class Running:
    """The models, by the names that the lines give them."""

    def __init__(self) -> None:
        self.llms: dict[str, Any] = {}
        self.attached: dict[str, VllmEngine] = {}
        self.load: Load | None = None
        self.aside: dict[str, torch.Tensor] = {}

    def ask_load(
        self,
        key: str,
        model: str,
        backend: bool = True,
        eager: bool = True,
        packing: bool = False,
        **more: Any,
    ) -> None:
        from vllm import LLM

        if packing:
            pack_matrices()
            more["additional_config"] = {"pvc": {"packing": True}}
        config = {"weight_transfer_config": {"backend": "pvc"}} if backend else {}
        self.llms[key] = LLM(
            model, dtype="bfloat16", max_model_len=400, max_num_seqs=8, enforce_eager=eager,
            skip_tokenizer_init=True, kv_cache_memory_bytes=CACHE_BYTES, **config, **more,
        )  # fmt: skip

    def ask_compiled(self, key: str) -> list[str]:
        """How it compiles its model."""
        config = self.llms[key].llm_engine.vllm_config.compilation_config
        return [config.mode.name, config.backend]

    def ask_loaded(self) -> list[str]:
        return list(self.llms)

    def ask_attach(self, key: str, name: str, folder: str) -> None:
        self.attached[key] = live.attach(self.llms[key], name, folder=Path(folder))

    def ask_close(self, key: str) -> None:
        self.attached.pop(key).close()

    def ask_generate(self, key: str, prompts: list[list[int]], tokens: int = 16) -> Any:
        """Greedy tokens, and the logarithms of their probabilities.

        One prompt after the other: how they are put together would change the last bits.
        """
        return [generate(self.llms[key], [prompt], tokens)[0] for prompt in prompts]

    def ask_checksums(self, key: str) -> Any:
        """What vLLM itself computes of its parameters."""
        return self.llms[key].collective_rpc("compute_weight_checksums")

    def ask_version(self, key: str) -> Any:
        return self.llms[key].get_weight_version()

    def ask_poke(self, key: str, parameter: str) -> None:
        """Change an element in place, behind everybody's back."""
        dict(self.model(key).named_parameters())[parameter].data[1] += 1

    def ask_stray(self, key: str, parameter: str) -> None:
        """Let it compute with a copy of a parameter; the second time, with the parameter again."""
        one = dict(self.model(key).named_parameters())[parameter]
        back = self.aside.pop(parameter, None)
        if back is None:
            self.aside[parameter] = one.data
        one.data = one.data.clone() if back is None else back

    def model(self, key: str) -> Any:
        return self.llms[key].llm_engine.model_executor.driver_worker.worker.get_model()

    def ask_loading(self, key: str, how: str | None) -> None:
        """Let the loader of its model fail, or leave something out; None brings it back."""
        model = self.model(key)
        vars(model).pop("load_weights", None)
        loading = model.load_weights

        def fail(weights: Any) -> None:
            loading(itertools.islice(weights, 5))
            raise OSError("the disk is gone")

        def skip(weights: Any) -> None:
            loading(list(weights)[1:])

        if how is not None:
            vars(model)["load_weights"] = {"fail": fail, "skip": skip}[how]

    def ask_reload(self, key: str) -> None:
        """Let vLLM load its checkpoint once more, by its own means."""
        self.llms[key].collective_rpc("reload_weights")

    def ask_places(self, key: str) -> dict[str, int]:
        """Where its parameters are."""
        return {name: one.data_ptr() for name, one in self.model(key).named_parameters()}

    def ask_forgetful(self, key: str, answer: bool | None) -> None:
        """Let resetting the prefix cache do nothing, and answer so; None brings it back."""
        core = self.llms[key].llm_engine.engine_core.engine_core
        vars(core).pop("reset_prefix_cache", None)
        if answer is not None:
            core.reset_prefix_cache = lambda *_: answer

    def ask_reset(self, key: str) -> Any:
        return self.llms[key].reset_prefix_cache()

    def ask_begin(self, key: str, prompts: list[list[int]]) -> None:
        """Generate all the time, in a thread."""
        self.load = Load(self.llms[key], prompts)

    def ask_end(self) -> dict[str, object]:
        assert self.load is not None
        return self.load.end()


def pack_matrices() -> None:
    """Let vLLM pack matrices, also on CPUs for which it has no packing; here as copies."""
    from vllm import _custom_ops as ops

    if ops._supports_onednn:
        return

    def multiply(packed: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        found = x @ packed
        return found if bias is None else found + bias

    ops._supports_onednn = True
    ops.create_onednn_mm = lambda weight, _=0: weight.clone()
    ops.onednn_mm = multiply


class Load:
    """A thread that generates."""

    def __init__(self, llm: Any, prompts: list[list[int]]) -> None:
        self.llm, self.prompts = llm, prompts
        self.calls = 0
        self.failures: list[str] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self) -> None:
        while not self.stop.is_set():
            try:
                generate(self.llm, self.prompts, 16)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is told
                self.failures.append(repr(error))
                return
            self.calls += 1

    def end(self) -> dict[str, object]:
        self.stop.set()
        self.thread.join(60)
        hung = self.thread.is_alive()
        return {"calls": self.calls, "failures": self.failures, "hung": hung}


def generate(llm: Any, prompts: list[list[int]], tokens: int) -> list[list[Any]]:
    from vllm import SamplingParams

    asked = [{"prompt_token_ids": prompt} for prompt in prompts]
    how = SamplingParams(
        max_tokens=tokens, temperature=0, logprobs=1, detokenize=False, ignore_eos=True
    )
    found = []
    for request in llm.generate(asked, how, use_tqdm=False):
        out = request.outputs[0]
        steps = zip(out.token_ids, out.logprobs, strict=True)
        found.append([list(out.token_ids), [step[token].logprob for token, step in steps]])
    return found


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    running = Running()
    for line in sys.stdin:
        asked = json.loads(line)
        method = getattr(running, f"ask_{asked.pop('ask')}")
        try:
            answer = method(**asked)
        except PvcError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
