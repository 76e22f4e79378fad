"""Changing tensors by the loader of a model, where they do not lie in it as in a checkpoint.

The modules of a group get empty parameters, as they had before anything was loaded; the model's own
loader fills them, from the whole group; the framework works on them as it does after loading.  What
comes out is copied to where the weights are, which never move.

Before a group is changed like that for the first time, it is tried out with what was loaded: it has
to give what is there, bit for bit.  A loader that cannot do it twice, or a module that is worked on
in a way that pvc does not know, is found so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pvc.errors import PvcError
from pvc.live.vllm.loader.grouping import module_of
from pvc.live.vllm.tracing.model_tensors import ModuleTensors, form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from pvc.live.vllm.loader.framework import Framework
    from pvc.live.vllm.loader.grouping import LoaderGroup
    from pvc.live.vllm.loader.original import Original

    Bytes = NDArray[np.uint8]
    Content = Callable[[str], torch.Tensor]
    """The tensor of a name, in memory of its own."""

MAX_REASON = 300


class RefillError(PvcError):
    """Tensors cannot be changed by the loader of their model.

    Attributes:
        names: the tensors.
        reason: why not.
    """

    def __init__(self, names: tuple[str, ...], reason: str) -> None:
        self.names = names
        self.reason = reason[:MAX_REASON]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        super().__init__(f"The loader cannot change {names[0]}{more}: {self.reason}.")


class OtherBytesLoadedError(RefillError):
    """The loader makes of tensors something else than what is there.

    They may be others than those that were loaded.
    """


class Refiller:
    """Puts tensors through the loader of a model.

    Args:
        model: the model.
        framework: what it runs in.
        original: the model as it was before loading.
    """

    def __init__(self, model: torch.nn.Module, framework: Framework, original: Original) -> None:
        self._model = model
        self._framework = framework
        self._original = original

    def refill(self, group: LoaderGroup, content: Content) -> None:
        """Change the tensors of a group.

        Args:
            group: the group.
            content: its new tensors.

        Raises:
            RefillError: that has failed; the group is as it was.
        """
        self._run(group, content, self._write)

    def check(self, group: LoaderGroup, content: Content) -> None:
        """Try out whether the loader makes of a group what is there, which stays as it is.

        Args:
            group: the group.
            content: the tensors that were loaded.

        Raises:
            OtherBytesLoadedError: it makes something else.
            RefillError: it cannot load them.
        """
        for name in group.modules:
            reason = self._framework.refusal(self._module(name))
            if reason is not None:
                raise RefillError(group.tensors, reason)
        self._original.check_covered(group)
        self._run(group, content, self._compare)

    def made(self, group: LoaderGroup) -> Iterator[Bytes]:
        """The bytes that a group's parameters hold now."""
        for first, *_ in group.places:
            tensor = self._parameter(first)
            if tensor is not None:
                yield _bits(tensor).numpy()

    def _run(
        self,
        group: LoaderGroup,
        content: Content,
        then: Callable[[LoaderGroup, dict[str, ModuleTensors]], None],
    ) -> None:
        held = {name: ModuleTensors(self._module(name)) for name in group.modules}
        try:
            with torch.inference_mode(mode=False), torch.no_grad(), self._framework.context():
                fresh = self._emptied(group, held)
                self._model.load_weights(  # type: ignore[operator]  # modules have any attribute
                    (name, content(name)) for name in group.tensors
                )
                self._original.check_filled(group, fresh, content)
                self._finish(group)
                then(group, held)
        except BaseException as error:  # loaders of many models fail in many ways
            for one in held.values():
                one.restore()
            if isinstance(error, RefillError) or not isinstance(error, Exception):
                raise
            reason = f"{type(error).__name__}: {str(error).strip()}"
            raise RefillError(group.tensors, reason) from error

    def _emptied(
        self, group: LoaderGroup, held: Mapping[str, ModuleTensors]
    ) -> dict[str, torch.Tensor]:
        """Put empty tensors in; parameter -> its tensor."""
        for name in group.modules:
            self._framework.empty(self._module(name), real=True)
            chosen = {_last(one) for one in group.parameters if module_of(one) == name}
            held[name].put_back(held[name].tensors.keys() - chosen)
        fresh: dict[str, torch.Tensor] = {}
        for first, *others in group.places:
            tensor = self._parameter(first)
            if tensor is None:
                raise RefillError(group.tensors, f"the parameter {first} was made after loading")
            tensor.data.zero_()
            fresh[first] = tensor
            for other in others:
                self._module(module_of(other))._parameters[_last(other)] = tensor  # type: ignore[assignment]  # noqa: SLF001
        return fresh

    def _module(self, name: str) -> torch.nn.Module:
        return self._model.get_submodule(name)

    def _parameter(self, name: str) -> torch.Tensor | None:
        """A parameter or buffer as it is now."""
        return ModuleTensors(self._module(module_of(name))).tensors.get(_last(name))

    def _finish(self, group: LoaderGroup) -> None:
        for name in group.modules:
            module = self._module(name)
            if self._framework.is_worked_on(module):
                self._framework.finish(module)

    def _pairs(
        self, group: LoaderGroup, held: Mapping[str, ModuleTensors]
    ) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Each parameter of a group as it is kept, and as it was made."""
        for name in group.parameters:
            before = held[module_of(name)].tensors[_last(name)]
            after = self._parameter(name)
            if after is None or form(before) != form(after):
                reason = f"the parameter {name} has another form afterwards"
                raise RefillError(group.tensors, reason)
            yield name, before.data, after.data

    def _compare(self, group: LoaderGroup, held: Mapping[str, ModuleTensors]) -> None:
        for name, before, after in self._pairs(group, held):
            if not _same(before, after):
                reason = f"loading it twice does not make the same of the parameter {name}"
                raise OtherBytesLoadedError(group.tensors, reason)
        after_samples = self._samples(group)
        for one in held.values():
            one.restore()
        for name, before_sample in self._samples(group).items():
            if not _same(before_sample, after_samples[name]):
                reason = f"loading it twice does not let the module {name} compute the same"
                raise OtherBytesLoadedError(group.tensors, reason)

    def _samples(self, group: LoaderGroup) -> dict[str, torch.Tensor]:
        found = {name: self._framework.sample(self._module(name)) for name in group.modules}
        return {name: one for name, one in found.items() if one is not None}

    def _write(self, group: LoaderGroup, held: Mapping[str, ModuleTensors]) -> None:
        pairs = list(self._pairs(group, held))
        for _, before, after in pairs:
            before.copy_(after)
        for name, before, after in pairs:
            if not _same(before, after):
                reason = f"the parameter {name} does not hold what was written to it"
                raise RefillError(group.tensors, reason)
        for one in held.values():
            one.adopt()


def _last(parameter: str) -> str:
    """The name that a parameter has in its module."""
    return parameter.rpartition(".")[2]


def _same(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Whether two tensors of one form have the same bits."""
    return torch.equal(_bits(one), _bits(two))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)
