"""A result whose weights are known: what of its folder was not compared, or is different."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.history.recording import NothingChangedError
from pvc.wording import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvc.weights.folder import LeftOut
    from pvc_store.layout import Layout


class SameWeightsError(PvcError):
    """The weights of a result are known, but not all of its folder is.

    Attributes:
        files: files without tensors that differ from those of the base.
        left_out: what no commit keeps, and nothing compared.
    """

    def __init__(self, reason: str, files: Sequence[str], left_out: Sequence[str]) -> None:
        self.files = tuple(files)
        self.left_out = tuple(left_out)
        parts = [f"Its weights make no vector: {reason}"]
        if files:
            parts.append(f"these files differ from the base's: {shown(self.files)}")
        if left_out:
            parts.append(f"this was left out, and not compared: {shown(self.left_out)}")
        super().__init__("; ".join(parts) + ".")


def no_change(
    reason: str, layout: Layout, base: Layout | None, left_out: Sequence[LeftOut]
) -> PvcError:
    """The error for a result that makes no vector.

    Args:
        reason: why not.
        layout: its files.
        base: the base's files, None where they are not known or need not be compared.
        left_out: what does not belong to it.
    """
    before = {file.path: file.digest for file in base.others} if base else {}
    files = [
        file.path
        for file in (layout.others if base else ())
        if before.get(file.path) != file.digest
    ]
    outside = [item.path for item in left_out if item.matters]
    if files or outside:
        return SameWeightsError(reason, files, outside)
    return NothingChangedError(reason)
