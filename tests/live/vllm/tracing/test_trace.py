"""Tracing loaders of models that are made here: fused, split, stacked, and strange."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pvc.live.vllm.tracing.coverage import Coverage
from pvc.live.vllm.tracing.trace import FAILURES_LIMIT, Trace, trace
from pvc_store.kinds import KIND_BY_NAME
from tests.support.gathering import BF16, Header, covered, gathered, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Loader = Callable[[Any, str, torch.Tensor], object]


class Model(nn.Module):
    """A model of flat parameters; how a tensor gets into them is a function's business."""

    def __init__(self, loader: Loader, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.loader = loader
        for name, shape in shapes.items():
            content = torch.full(shape, -1, dtype=torch.bfloat16)
            self.register_parameter(name, nn.Parameter(content, requires_grad=False))

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        for name, tensor in weights:
            self.loader(self, name, tensor)


def traced(model: Any, **tensors: tuple[int, ...]) -> Trace:
    """Trace a model; nothing of it may change."""
    before = {name: (one.data_ptr(), one.clone()) for name, one in model.named_parameters()}
    found = trace(model, {name: Header(shape) for name, shape in tensors.items()})
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    for name, (pointer, content) in before.items():
        assert after[name].data_ptr() == pointer
        assert raw(after[name]) == raw(content)  # bits, since NaN is not NaN
    return found


def loaded(model: Model, names: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Load random tensors into a model, really."""
    generator = torch.Generator().manual_seed(1)
    content = {
        name: torch.randint(-(1 << 15), 1 << 15, shape, generator=generator)
        .to(torch.int16)
        .view(torch.bfloat16)
        for name, shape in names.items()
    }
    model.load_weights(content.items())
    return content


@dataclass
class Part:
    """How one tensor lies in a parameter: where along which dimension, and how it is split."""

    name: str
    shape: tuple[int, ...]
    dim: int
    split: int | None


@dataclass
class Plan:
    """A parameter that several tensors are fused into."""

    parts: list[Part]
    transposed: bool
    copied: bool
    ranks: int

    def shape(self) -> tuple[int, ...]:
        shape = list(self._shard(self.parts[0]))
        shape[self.parts[0].dim] = sum(self._shard(part)[part.dim] for part in self.parts)
        return tuple(reversed(shape)) if self.transposed else tuple(shape)

    def _shard(self, part: Part) -> tuple[int, ...]:
        shape = list(part.shape)
        if part.split is not None:
            shape[part.split] //= self.ranks
        return tuple(shape)

    def loader(self, rank: int) -> Loader:
        def load(model: Any, name: str, tensor: torch.Tensor) -> None:
            at = 0
            for part in self.parts:
                length = self._shard(part)[part.dim]
                if part.name == name:
                    self._copy(model, part, rank, at, tensor)
                at += length

        return load

    def _copy(self, model: Any, part: Part, rank: int, at: int, tensor: torch.Tensor) -> None:
        shard = self._shard(part)
        if part.split is not None:
            length = shard[part.split]
            tensor = tensor.narrow(part.split, rank * length, length)
        target = model.fused.data
        if self.transposed:
            target = target.permute(*reversed(range(target.ndim)))
        if self.copied:
            tensor = tensor.contiguous().to(target.device)
        target.narrow(part.dim, at, shard[part.dim]).copy_(tensor)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    ranks = draw(st.integers(1, 3))
    ndim = draw(st.integers(1, 3))
    dim = draw(st.integers(0, ndim - 1))
    split = draw(st.none() | st.integers(0, ndim - 1))
    shape = draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim))
    parts = []
    for index in range(draw(st.integers(1, 4))):
        own = list(shape)
        own[dim] = draw(st.integers(1, 5))
        if split is not None:
            own[split] *= ranks
        parts.append(Part(f"t{index}", tuple(own), dim, split))
    return Plan(parts, draw(st.booleans()), draw(st.booleans()), ranks)


@settings(max_examples=120, deadline=None)
@given(plans())
def test_fused_split_and_transposed(plan: Plan) -> None:
    """What traces say is what is there, on all ranks together, and once on each."""
    headers = {part.name: part.shape for part in plan.parts}
    models = [Model(plan.loader(rank), fused=plan.shape()) for rank in range(plan.ranks)]
    content = {}
    for model in models:
        content = loaded(model, headers)
    ranks = [traced(model, **headers) for model in models]
    found = covered({name: Header(shape) for name, shape in headers.items()}, ranks)
    for part in plan.parts:
        assert not any(rank.problems for rank in ranks)
        assert found[part.name].least > 0
        assert (found[part.name].most > 1) == (part.split is None and plan.ranks > 1)
        assert gathered(part.name, part.shape, ranks) == raw(content[part.name])
    item = BF16.bits // 8
    for rank, model in zip(ranks, models, strict=True):
        assert rank.parameters == {"fused": frozenset(headers)}
        written = sum(one.nbytes(item) for regions in rank.regions.values() for one in regions)
        assert written == model.fused.nbytes


def test_a_missing_part_is_noticed() -> None:
    def first_rank(model: Any, _: str, tensor: torch.Tensor) -> None:
        model.w.data.copy_(tensor[:4])

    found = traced(Model(first_rank, w=(4, 2)), t=(8, 2))
    tensors = {"t": Header((8, 2)), "u": Header((8, 2))}
    assert covered(tensors, [found]) == {"t": Coverage(0, 1), "u": Coverage(0, 0)}


def test_experts_are_stacked_and_vocabularies_padded() -> None:
    def load(model: Any, name: str, tensor: torch.Tensor) -> None:
        if name == "vocabulary":
            model.embedding.data[: len(tensor)].copy_(tensor)
            model.embedding.data[len(tensor) :].fill_(0)
        else:
            _, expert, which = name.split("_")
            model.experts.data[int(expert)].chunk(2)[which == "up"].copy_(tensor)

    tensors = {
        "vocabulary": (5, 4),
        **{f"e_{i}_{which}": (3, 4) for i in range(3) for which in ("gate", "up")},
    }
    model = Model(load, embedding=(8, 4), experts=(3, 6, 4))
    content = loaded(model, tensors)
    found = traced(model, **tensors)
    assert not found.problems
    assert not found.unmapped
    for name, shape in tensors.items():
        assert gathered(name, shape, [found]) == raw(content[name])


def _cast(model: Any, _: str, tensor: torch.Tensor) -> None:
    model.w.data.copy_(tensor.float())


def _scaled(model: Any, _: str, tensor: torch.Tensor) -> None:
    model.w.data.copy_(tensor * 2)


def _changed(_: Any, __: str, tensor: torch.Tensor) -> None:
    tensor.mul_(2)


def _changed_copy(model: Any, _: str, tensor: torch.Tensor) -> None:
    model.w.data.copy_(tensor.clone().neg_())


def _joined(model: Any, _: str, tensor: torch.Tensor) -> None:
    model.w.data.copy_(torch.cat([tensor[:2], tensor[2:]]))


def _staged(model: Any, _: str, tensor: torch.Tensor) -> None:
    stage = torch.empty(tensor.shape, dtype=tensor.dtype)
    stage.copy_(tensor)
    model.w.data.copy_(stage)


def _added(model: Any, _: str, tensor: torch.Tensor) -> None:
    model.w.data.add_(tensor)


def _computed_into(model: Any, _: str, tensor: torch.Tensor) -> None:
    torch.add(tensor, 1, out=model.w.data)


def _repeated(model: Any, _: str, tensor: torch.Tensor) -> None:
    model.w.data.copy_(tensor[:1])


def _also_converted(model: Any, _: str, tensor: torch.Tensor) -> None:
    model.w.data.copy_(tensor)
    model.w.data[0].mul_(tensor[0])


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (_cast, "it is not copied as it is, but goes through aten.copy_.default"),
        (_scaled, "is not copied as it is"),
        (_changed, "by aten.mul_.Tensor before it is loaded"),
        (_changed_copy, "by aten.neg_.default before"),
        (_joined, "is not copied as it is"),
        (_staged, "changed or joined with others by aten.copy_.default"),
        (_added, "goes through aten.add_.Tensor"),
        (_computed_into, "goes through aten.add.out"),
        (_repeated, "elements of it are repeated"),
        (_also_converted, "goes through aten.mul_.Tensor"),
    ],
)
def test_what_is_not_copied_as_it_is(loader: Loader, reason: str) -> None:
    found = traced(Model(loader, w=(4, 3)), t=(4, 3))
    assert reason in found.opaque["t"]
    assert not found.errors
    assert found.problems["t"] == found.opaque["t"]
    assert found.parameters == ({} if loader is _changed else {"w": {"t"}})


def test_kinds_that_differ() -> None:
    model = Model(lambda m, _, tensor: m.w.data.copy_(tensor), w=(4,))
    found = trace(model, {"t": Header((4,), KIND_BY_NAME["F32"])})
    assert found.problems == {"t": "it is converted from float32 to bfloat16"}
    assert found.parameters == {"w": {"t"}}
    found = trace(model, {"t": Header((4,), KIND_BY_NAME["F4"])})
    assert found.problems == {"t": "PyTorch has no numbers of the kind F4"}


def test_copies_are_followed_where_that_is_possible() -> None:
    def load(model: Any, name: str, tensor: torch.Tensor) -> None:
        if name == "turned":
            model.a.data.copy_(tensor.t().contiguous())
        elif name == "cut":
            model.b.data.copy_(tensor.t().contiguous().view(-1))
        else:
            torch._foreach_copy_([model.c.data], [tensor])

    tensors = {"turned": (4, 3), "cut": (4, 3), "listed": (2,)}
    model = Model(load, a=(3, 4), b=(12,), c=(2,))
    content = loaded(model, tensors)
    found = traced(model, **tensors)
    assert set(found.opaque) == {"cut"}
    for name in ("turned", "listed"):
        assert gathered(name, tensors[name], [found]) == raw(content[name])


def test_numbers_that_are_asked_for() -> None:
    def load(model: Any, name: str, tensor: torch.Tensor) -> None:
        if name == "scale":
            model.scale.data.fill_(tensor.item())
        else:
            model.w.data.copy_(tensor)

    found = traced(Model(load, scale=(1,), w=(4,)), a=(4,), scale=(), b=(4,))
    assert list(found.errors) == ["scale"]
    assert "the loader fails with" in found.errors["scale"]
    assert set(found.regions) == {"a", "b"}


def test_a_failure_concerns_the_tensors_that_cause_it() -> None:
    def load(model: Any, name: str, tensor: torch.Tensor) -> None:
        at = int(name.removeprefix("t"))
        if at % 5 == 3:
            raise ValueError(name)
        model.w.data[at].copy_(tensor)

    tensors = {f"t{i}": (4,) for i in range(20)}
    found = traced(Model(load, w=(20, 4)), **tensors)
    assert set(found.errors) == {"t3", "t8", "t13", "t18"}
    assert found.errors["t8"] == "the loader fails with ValueError: t8"
    assert set(found.regions) == set(tensors) - set(found.errors)
    assert not found.overlapping


def test_a_loader_that_fails_with_everything_is_given_up() -> None:
    runs = []

    def load(weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        runs.append(next(iter(weights)))
        raise ValueError

    names = [f"t{i}" for i in range(2000)]
    found = trace(Model(lambda *_: None, w=(4,)), {name: Header((4,)) for name in names}, load=load)
    assert list(found.errors) == names
    assert "was not tried with this one" in found.errors["t1999"]
    assert len(runs) <= 2 * FAILURES_LIMIT


def test_parameters_that_were_emptied() -> None:
    """vLLM on CPUs replaces a weight that it packs by an empty one."""

    def load(model: Any, name: str, tensor: torch.Tensor) -> None:
        target = getattr(model, name)
        assert target.size() == tensor.size(), "sizes differ"
        target.data.copy_(tensor)

    model = Model(load, packed=(4, 4), kept=(4,))
    model.packed = nn.Parameter(torch.empty(0, dtype=torch.bfloat16), requires_grad=False)
    found = traced(model, packed=(4, 4), kept=(4,))
    assert "1 parameter of the model is empty, such as packed" in found.problems["packed"]
    assert set(found.regions) == {"kept"}


def test_shapes_that_do_not_fit_are_errors() -> None:
    found = traced(Model(lambda m, _, t: m.w.data.copy_(t), w=(3,)), t=(4,))
    assert "the loader fails with RuntimeError" in found.problems["t"]


def test_unmapped() -> None:
    found = traced(Model(lambda *_: None, w=(4,)), t=(4,), u=(4,))
    assert found.unmapped == {"t", "u"}
    assert not found.problems
    assert not found.storages


def test_what_is_kept_beside_the_parameters_is_not_left_out() -> None:
    """The loader may keep a tensor as it is: then the model may compute with it."""

    def load(model: Any, name: str, tensor: torch.Tensor) -> None:
        if name == "t":
            model.table = tensor

    found = traced(Model(load, w=(4,)), t=(4,), u=(4,))
    assert not found.unmapped
    assert "may keep it elsewhere" in found.problems["t"]


def _rebound(model: Any, _: str, tensor: torch.Tensor) -> None:
    model.w.data.copy_(tensor)
    model.w.data = model.w.data.t().contiguous()


def _replaced(model: Any, _: str, tensor: torch.Tensor) -> None:
    model.w.data.copy_(tensor)
    model.w = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    model.extra = nn.Parameter(torch.zeros(1))
    model.cached = tensor


@pytest.mark.parametrize("loader", [_rebound, _replaced])
def test_replaced_parameters_are_brought_back(loader: Loader) -> None:
    model = Model(loader, w=(4, 3))
    weight = model.w
    found = traced(model, t=(4, 3))
    assert model.w is weight
    assert found.moved == {"w"}
    assert found.problems == {"t": "the loader replaces the parameter w"}
    assert not hasattr(model, "extra")
    assert not hasattr(model, "cached")


def test_ties_and_overlaps() -> None:
    def load(model: Any, name: str, tensor: torch.Tensor) -> None:
        getattr(model, name.rstrip("0123456789")).data.copy_(tensor)

    model = Model(load, a=(4,), b=(4,), c=(4,))
    model.c = model.a
    found = traced(model, a=(4,), c=(4,), b=(4,), b2=(4,))
    assert found.regions["a"] == found.regions["c"]
    assert found.parameters["a"] == found.parameters["c"] == {"a", "c"}
    assert len(found.storages) == 2
    assert not found.overlapping

    def halves(model: Any, name: str, tensor: torch.Tensor) -> None:
        first = 0 if name == "first" else 1
        model.a.data[first : first + 3].copy_(tensor)

    found = traced(Model(halves, a=(4,)), first=(3,), second=(3,))
    assert found.problems.keys() == {"first", "second"}


def test_what_is_written_twice_lies_there_once() -> None:
    def load(model: Any, _: str, tensor: torch.Tensor) -> None:
        model.w.data.copy_(tensor)
        model.w.data.copy_(tensor)

    found = traced(Model(load, w=(4,)), t=(4,))
    assert len(found.regions["t"]) == 1
    assert not found.overlapping


def test_parameters_in_one_storage() -> None:
    def load(model: Any, name: str, tensor: torch.Tensor) -> None:
        getattr(model, name).data.copy_(tensor)

    model: Any = Model(load, a=(4,), b=(4,))
    whole = torch.zeros(8, dtype=torch.bfloat16)
    model.a.data, model.b.data = whole[:4], whole[4:]
    found = traced(model, a=(4,), b=(4,))
    assert found.parameters == {"a": {"a"}, "b": {"b"}}
    assert [found.regions[name][0].offset for name in "ab"] == [0, 8]
    assert len(found.storages) == 1


def test_inference_mode_and_attributes() -> None:
    """Buffers and plain attributes are storages, too; and inference mode hides no operation."""

    def load(model: Any, name: str, tensor: torch.Tensor) -> None:
        getattr(model, name).copy_(tensor.t().contiguous())

    model: Any = Model(load)
    model.register_buffer("buffer", torch.zeros(2, 3, dtype=torch.bfloat16), persistent=False)
    model.plain = torch.zeros(2, 3, dtype=torch.bfloat16)
    with torch.inference_mode():
        found = traced(model, buffer=(3, 2), plain=(3, 2))
    assert set(found.regions) == {"buffer", "plain"}
    assert not found.problems
    assert found.parameters == {"buffer": {"buffer"}}
    assert not model.plain.any()


def test_groups_reach_over_modules_that_share_tensors() -> None:
    model: Any = nn.Module()
    model.one, model.two = (
        Model(lambda *_: None, a=(2,), b=(2,)),
        Model(lambda *_: None, a=(2,), b=(2,)),
    )

    def load(weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        for name, tensor in weights:
            module, _, parameter = name.partition(".")
            getattr(getattr(model, module), parameter[0]).data.copy_(tensor)
            if name == "one.b":
                model.two.a.data.copy_(tensor)

    names = ["one.a", "one.b", "two.b"]
    found = trace(model, {name: Header((2,)) for name in names}, load=load)
    loaded_into = {"one.a": "one.a", "one.b": "one.b", "two.a": "one.b", "two.b": "two.b"}
    assert found.parameters == {name: {tensor} for name, tensor in loaded_into.items()}
    assert covered({"one.b": Header((2,))}, [found])["one.b"].most > 1


def test_sizes_of_a_real_model_take_no_memory() -> None:
    """A tensor of 2 TB is described, not made."""
    shape = (1 << 20, 1 << 20)
    found = traced(Model(lambda m, _, tensor: m.w.data.copy_(tensor[:2, :2]), w=(2, 2)), t=shape)
    (region,) = found.regions["t"]
    assert region.source_stride == (2 * shape[1], 2)
    assert math.prod(shape) * 2 > 1 << 40
