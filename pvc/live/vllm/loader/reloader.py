"""Loading a group of tensors again, where they do not lie in a model as in a checkpoint.

The modules of the group get empty parameters, as before anything was loaded; the model's own loader
fills them, from the whole group; the framework processes them as it does after loading.  The result
is copied to where the weights lie, which never move.

Before a group is changed like that for the first time, it is tried out with what was loaded: the
result has to be what is there, bit for bit.  A loader that cannot do it twice, or a module that is
processed in a way that pvc does not know, is found so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from blake3 import blake3

from pvc.live.vllm.loader.loader_groups import module_of
from pvc.live.vllm.loader.module_tensors import ModuleTensors, form
from pvc.live.vllm.loader.unloaded_model import ReloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pvc.live.vllm.loader.checkpoint_tensors import Content
    from pvc.live.vllm.loader.loader_groups import LoaderGroup
    from pvc.live.vllm.loader.module_lifecycle import ModuleLifecycle
    from pvc.live.vllm.loader.unloaded_model import UnloadedModel

    Modules = Mapping[str, ModuleTensors]
    """Name of a module -> what it consisted of before its parameters were emptied."""


class OtherBytesLoadedError(ReloadError):
    """The loader makes of a checkpoint's tensors something else than what is there.

    So it is not known which tensors were loaded.
    """


class Reloader:
    """Puts the tensors of a group through the loader of a model.

    Args:
        model: the model.
        group: the tensors.
        lifecycle: what the framework does with modules.
        unloaded: the model as it was before loading.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        group: LoaderGroup,
        lifecycle: ModuleLifecycle,
        unloaded: UnloadedModel,
    ) -> None:
        self.group = group
        self._model = model
        self._lifecycle = lifecycle
        self._unloaded = unloaded

    def reload(self, content: Content) -> None:
        """Change the tensors of the group.

        Args:
            content: its new tensors, by name.

        Raises:
            ReloadError: that has failed; the group is as it was.
        """
        self._run(content, self._write)

    def check(self, content: Content) -> None:
        """Make sure that the loader makes of the group what is there, which stays as it is.

        Args:
            content: the tensors that were loaded, by name.

        Raises:
            OtherBytesLoadedError: it makes something else.
            ReloadError: it cannot load them.
        """
        for name in self.group.modules:
            reason = self._lifecycle.refusal(self._module(name))
            if reason is not None:
                raise self._error(reason)
        self._unloaded.check_covered(self.group)
        self._run(content, self._compare)

    def digest(self) -> bytes:
        """A hash of the bytes that the group's parameters hold now."""
        hasher = blake3()
        for first, *_ in self.group.places:
            tensor = self._parameter(first)
            if tensor is not None:
                hasher.update(_bits(tensor).numpy().data)
        return hasher.digest()

    def _error(self, reason: str) -> ReloadError:
        return ReloadError(self.group.tensors, reason)

    def _run(self, content: Content, then: Callable[[Modules], None]) -> None:
        """Load the tensors into empty parameters, process them, and go on with `then`."""
        before = {name: ModuleTensors(self._module(name)) for name in self.group.modules}
        try:
            with torch.inference_mode(mode=False), torch.no_grad(), self._lifecycle.context():
                fresh = self._emptied(before)
                self._model.load_weights(  # type: ignore[operator]  # modules have any attribute
                    (name, content(name)) for name in self.group.tensors
                )
                self._unloaded.check_filled(self.group, fresh, content)
                self._process()
                then(before)
        except BaseException as error:  # loaders of many models fail in many ways
            for one in before.values():
                one.restore()
            if isinstance(error, ReloadError) or not isinstance(error, Exception):
                raise
            raise self._error(f"{type(error).__name__}: {str(error).strip()}") from error

    def _emptied(self, before: Modules) -> dict[str, torch.Tensor]:
        """Put empty tensors in; parameter -> its tensor."""
        for name in self.group.modules:
            self._lifecycle.empty(self._module(name), real=True)
            chosen = {_last(one) for one in self.group.parameters if module_of(one) == name}
            before[name].put_back(before[name].tensors.keys() - chosen)
        fresh: dict[str, torch.Tensor] = {}
        for first, *others in self.group.places:
            tensor = self._parameter(first)
            if tensor is None:
                raise self._error(f"the parameter {first} was made after loading")
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

    def _process(self) -> None:
        for name in self.group.modules:
            module = self._module(name)
            if self._lifecycle.is_processed(module):
                self._lifecycle.process(module)

    def _pairs(self, before: Modules) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Name of each parameter, what it was before, and what was made of it."""
        for name in self.group.parameters:
            old = before[module_of(name)].tensors[_last(name)]
            new = self._parameter(name)
            if new is None or form(old) != form(new):
                raise self._error(f"the parameter {name} has another form afterwards")
            yield name, old.data, new.data

    def _compare(self, before: Modules) -> None:
        for name, old, new in self._pairs(before):
            if not _same(old, new):
                reason = f"loading it twice does not make the same of the parameter {name}"
                raise OtherBytesLoadedError(self.group.tensors, reason)
        computed = self._samples()
        for one in before.values():
            one.restore()
        for name, sample in self._samples().items():
            if not _same(sample, computed[name]):
                reason = f"loading it twice does not let the module {name} compute the same"
                raise OtherBytesLoadedError(self.group.tensors, reason)

    def _samples(self) -> dict[str, torch.Tensor]:
        found = {name: self._lifecycle.sample(self._module(name)) for name in self.group.modules}
        return {name: one for name, one in found.items() if one is not None}

    def _write(self, before: Modules) -> None:
        pairs = list(self._pairs(before))
        for _, old, new in pairs:
            old.copy_(new)
        for name, old, new in pairs:
            if not _same(old, new):
                raise self._error(f"the parameter {name} does not hold what was written to it")
        for one in before.values():
            one.adopt()


def _last(parameter: str) -> str:
    """The name that a parameter has in its module."""
    return parameter.rpartition(".")[2]


def _same(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Whether two tensors of one form have the same bits."""
    return torch.equal(_bits(one), _bits(two))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor, u8 [n]."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8)
