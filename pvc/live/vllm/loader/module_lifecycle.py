"""What a framework does with the modules of a model before and after they are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import torch

    from pvc.live.vllm.tracing.trace import TensorDescription, Trace


class ModuleLifecycle(Protocol):
    """Empties modules, and processes them once they are loaded."""

    def unavailable(self) -> str | None:
        """Why no module of this engine can be loaded again; None if some can."""
        ...

    def context(self) -> AbstractContextManager[Any]:
        """In which loading has to happen."""
        ...

    def trace(self, model: torch.nn.Module, tensors: Mapping[str, TensorDescription]) -> Trace:
        """Where the loader puts tensors, in a model whose modules are empty."""
        ...

    def refusal(self, module: torch.nn.Module) -> str | None:
        """Why a module cannot be loaded again; None if nothing is known against it."""
        ...

    def is_processed(self, module: torch.nn.Module) -> bool:
        """Whether the framework processes a module after it was loaded."""
        ...

    def keeps_copy(self, module: torch.nn.Module) -> bool:
        """Whether a module computes with a packed copy of its parameters."""
        ...

    def empty(self, module: torch.nn.Module, *, real: bool) -> None:
        """Give a module parameters as before loading; on the meta device unless `real`."""
        ...

    def process(self, module: torch.nn.Module) -> None:
        """Process a module as after loading."""
        ...

    def sample(self, module: torch.nn.Module) -> torch.Tensor | None:
        """What a module computes of a fixed input; None unless it keeps a copy of its weights."""
        ...
