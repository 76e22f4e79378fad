from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pvc.weights.compare import differences, first_differences, is_wider, renamed
from pvc_store.kinds import KIND_BY_NAME

if TYPE_CHECKING:
    from pvc_store.kinds import Kind


@dataclass(frozen=True)
class Tensor:
    kind: Kind
    shape: tuple[int, ...]


def tensor(kind: str, *shape: int) -> Tensor:
    return Tensor(KIND_BY_NAME[kind], shape)


def model(prefix: str, layers: int = 2, kind: str = "BF16") -> dict[str, Tensor]:
    names = {
        f"{prefix}embed_tokens.weight": tensor(kind, 32, 8),
        f"{prefix}norm.weight": tensor(kind, 8),
    }
    for number in range(layers):
        names[f"{prefix}layers.{number}.self_attn.q_proj.weight"] = tensor(kind, 8, 8)
        names[f"{prefix}layers.{number}.mlp.up_proj.weight"] = tensor(kind, 16, 8)
    return names


def test_the_same_model_does_not_differ() -> None:
    assert first_differences(model("model."), model("model.")) == ()


def test_each_difference_is_told_in_words() -> None:
    base = {"a": tensor("BF16", 2), "b": tensor("BF16", 2), "c": tensor("BF16", 2)}
    new = {"b": tensor("BF16", 2, 3), "c": tensor("F16", 2), "d": tensor("F32")}
    assert [str(difference) for difference in differences(base, new)] == [
        "a (BF16 [2]) is only in the base",
        "b is BF16 [2, 3], but BF16 [2] in the base",
        "c is F16 [2], but BF16 [2] in the base",
        "d (F32 []) is not in the base",
    ]


def test_only_the_first_few_are_given() -> None:
    assert len(first_differences(model("a."), model("b."))) == 3
    assert len(first_differences(model("a."), {}, limit=5)) == 5


def test_a_wider_dtype_is_a_difference_unless_allowed() -> None:
    base, new = model(""), model("", kind="F32")
    assert first_differences(base, new)
    assert first_differences(base, new, allow_wider=True) == ()
    assert first_differences(new, base, allow_wider=True)
    new["norm.weight"] = tensor("F32", 9)
    (only,) = first_differences(base, new, allow_wider=True)
    assert (only.name, only.base, only.new) == ("norm.weight", "BF16 [8]", "F32 [9]")


@pytest.mark.parametrize(
    ("than", "kind", "wider"),
    [
        ("BF16", "F32", True),
        ("F16", "F64", True),
        ("F32", "F64", True),
        ("F32", "F32", False),
        ("F32", "BF16", False),
        ("BF16", "F16", False),
        ("I8", "F32", False),
    ],
)
def test_wider_holds_every_number_of_the_narrower(than: str, kind: str, wider: bool) -> None:
    assert is_wider(KIND_BY_NAME[kind], KIND_BY_NAME[than]) is wider


HEAD = {"lm_head.weight": tensor("BF16", 32, 8)}
TOWER = {"visual.blocks.0.attn.qkv.weight": tensor("BF16", 4, 4)}


@pytest.mark.parametrize(
    ("base", "new"),
    [
        (model("model."), model("model.language_model.")),
        (model("model.language_model."), model("language_model.model.")),
        (model("model."), model("")),
        (model("model.") | HEAD, model("language_model.model.")),
        (model("model.language_model.") | HEAD | TOWER, model("model.") | HEAD),
        (model("model."), model("model.language_model.", kind="F32")),
    ],
)
def test_a_model_under_other_names_is_recognised(
    base: dict[str, Tensor], new: dict[str, Tensor]
) -> None:
    pair = renamed(base, new)
    assert pair is not None
    assert pair[0] in base.keys() - new.keys()
    assert pair[1] in new.keys() - base.keys()
    assert pair[0].split(".")[-3:] == pair[1].split(".")[-3:] or "layers" not in pair[0]


@pytest.mark.parametrize(
    ("base", "new"),
    [
        (model("model."), model("model.")),
        (model("model."), model("model.", layers=3)),
        (model("model."), model("other.", layers=3)),
        (model("model."), {}),
        (model("model.") | HEAD, model("model.")),
        (
            model("model."),
            model("other.") | {"other.layers.0.mlp.gate_proj.weight": tensor("F32", 8)},
        ),
        (
            {"a.layers.0.mlp.up_proj": tensor("F32", 2)},
            {"b.layers.0.mlp.up_proj": tensor("F32", 3)},
        ),
    ],
)
def test_another_model_is_not_taken_for_a_renamed_one(
    base: dict[str, Tensor], new: dict[str, Tensor]
) -> None:
    assert renamed(base, new) is None
