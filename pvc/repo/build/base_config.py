"""The base's own configuration, `config.json`, as far as arithmetic depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.repo.targets.weights_file import as_tensor
from pvc.weights.quantised import says_quantised

if TYPE_CHECKING:
    from pvc.repo.personality.config import Config
    from pvc.repo.repository import Repository

PATH = "config.json"


def is_quantised(repository: Repository, config: Config) -> bool:
    """Whether the base's configuration says that its weights are quantised.

    Raises:
        MissingError, DamageError: the store lacks the file.
    """
    layout = repository.store.layout(config.base_layout)
    file = next((file for file in layout.others if file.path == PATH), None)
    if file is None:
        return False
    tensor, text = as_tensor(file), b""
    with repository.blocks(config) as blocks:
        for index in range(tensor.block_count):
            raw = blocks.buffer("base config", tensor.block_length(index))
            blocks.read(tensor, index, raw)
            text += bytes(raw)
    return says_quantised(text)
