"""What a framework that an engine runs in does with the modules of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import torch

    from pvc.live.vllm.tracing.trace import Described, Trace


class Framework(Protocol):
    """What is done before and after modules are loaded."""

    def context(self) -> AbstractContextManager[Any]:
        """In which loading has to happen."""
        ...

    def trace(self, model: torch.nn.Module, tensors: Mapping[str, Described]) -> Trace:
        """Where the loader puts tensors, in a model whose modules are empty."""
        ...

    def refusal(self, module: torch.nn.Module) -> str | None:
        """Why a module cannot be loaded once more; None if it can, as far as is known."""
        ...

    def is_worked_on(self, module: torch.nn.Module) -> bool:
        """Whether something is done to a module after it was loaded."""
        ...

    def keeps_copy(self, module: torch.nn.Module) -> bool:
        """Whether it computes with something else than its parameters."""
        ...

    def empty(self, module: torch.nn.Module, *, real: bool) -> None:
        """Give it parameters as before loading; on the meta device unless they are to be real."""
        ...

    def finish(self, module: torch.nn.Module) -> None:
        """Do what is done after loading."""
        ...

    def sample(self, module: torch.nn.Module) -> torch.Tensor | None:
        """What it computes of some fixed input, if it keeps a copy of its weights."""
        ...
