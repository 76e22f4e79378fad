"""What a worker of vLLM is given so that tests can change its weights behind everybody's back."""

from __future__ import annotations

from typing import Any


class Poking:
    """vLLM's worker has these methods too (`--worker-extension-cls`)."""

    def poke(self, parameter: str) -> None:
        """Change elements of a parameter in place."""
        worker: Any = self
        dict(worker.get_model().named_parameters())[parameter].data[1] += 1
