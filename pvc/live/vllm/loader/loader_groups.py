"""Groups of tensors that have to be loaded together, since a loader puts them into one module.

A framework processes a module once all of it is loaded: it packs it, or copies it.  So a tensor
that does not lie in the engine as in the checkpoint can only be changed together with everything
else in its module, and with all modules that share a parameter with that one.

    q, k, v                   one fused parameter
    all experts of a layer    two stacked parameters of one module
    an embedding              also the output layer that is tied to it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.live.vllm.tracing.recorder import storage_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import torch

    from pvc.live.protocol.manifest import Manifest
    from pvc.live.vllm.tracing.trace import Trace


@dataclass(frozen=True, slots=True)
class LoaderGroup:
    """Tensors that are loaded together.

    Attributes:
        tensors: names in the checkpoint, in its order.
        places: the parameters and buffers that they are loaded into, by name: those that are one in
            memory together, and of these the loaded one first.
    """

    tensors: tuple[str, ...]
    places: tuple[tuple[str, ...], ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """All of these names."""
        return tuple(name for place in self.places for name in place)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that have these parameters."""
        return tuple(dict.fromkeys(module_of(name) for name in self.parameters))


def loader_groups(
    model: torch.nn.Module,
    loaded: Trace,
    lost: Iterable[str],
    is_processed: Callable[[torch.nn.Module], bool],
) -> tuple[LoaderGroup, ...]:
    """The groups of tensors that do not lie in a model as in the checkpoint.

    Args:
        model: the model, as it is in the engine.
        loaded: where its loader puts tensors, before the framework processes modules.
        lost: the tensors.
        is_processed: whether the framework processes a module after it was loaded.
    """
    ties = _ties(model)
    parameters = {name: tensors for name, tensors in loaded.parameters.items() if name in ties}
    order = {name: index for index, name in enumerate(_tensors(loaded))}
    units = {name: _unit(model, name, is_processed) for name in ties}
    left = [name for name in lost if name in order]
    found: list[LoaderGroup] = []
    while left:
        tensors, chosen = _grown(left[0], parameters, ties, units)
        places = _places(chosen, parameters, ties)
        found.append(LoaderGroup(tuple(sorted(tensors, key=order.__getitem__)), places))
        left = [name for name in left if name not in tensors]
    return tuple(found)


def loaded_into(
    model: torch.nn.Module, loaded: Trace, is_one: Callable[[torch.nn.Module], bool]
) -> frozenset[str]:
    """The tensors that are loaded into some modules, or into what they share with others.

    Args:
        model: the model, as it is in the engine.
        loaded: as for `loader_groups`.
        is_one: whether a module is one of them.
    """
    ties = _ties(model)
    chosen = {
        one for name in ties if is_one(model.get_submodule(module_of(name))) for one in ties[name]
    }
    return frozenset(tensor for name in chosen for tensor in loaded.parameters.get(name, ()))


def joined_groups(ranks: Sequence[Manifest], tensors: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The groups of an engine: those of its ranks, joined where they have a tensor in common.

    A group is left out if a rank has a part of one of its tensors that the rank does not load.

    Args:
        ranks: what each rank has.
        tensors: names of all tensors, in the order of the engine's manifest.
    """
    found: list[set[str]] = []
    for group in (set(group) for rank in ranks for group in rank.groups):
        apart = [one for one in found if not one & group]
        found = [*apart, group.union(*(one for one in found if one & group))]
    order = tuple(tensors)
    able = (group for group in found if not any(_is_split(rank, group) for rank in ranks))
    return tuple(tuple(name for name in order if name in group) for group in able)


def _is_split(rank: Manifest, group: set[str]) -> bool:
    """Whether a rank has some of a group, and does not load all that it has."""
    own = {name for name in group if not rank.tensors[name].direct or rank.tensors[name].regions}
    return not own <= rank.grouped


def _grown(
    first: str,
    loaded: Mapping[str, frozenset[str]],
    ties: Mapping[str, tuple[str, ...]],
    units: Mapping[str, str],
) -> tuple[set[str], set[str]]:
    """The tensors and parameters that belong to a tensor."""
    members: dict[str, list[str]] = {}
    for name, unit in units.items():
        members.setdefault(unit, []).append(name)
    tensors, parameters = {first}, set[str]()
    while True:
        more = {name for name, names in loaded.items() if names & tensors}
        more |= {one for name in more | parameters for one in members[units[name]]}
        more |= {one for name in more for one in ties[name]}
        if more <= parameters:
            return tensors, parameters
        parameters |= more
        tensors |= {tensor for name in parameters for tensor in loaded.get(name, ())}


def _places(
    parameters: set[str],
    loaded: Mapping[str, frozenset[str]],
    ties: Mapping[str, tuple[str, ...]],
) -> tuple[tuple[str, ...], ...]:
    """Those of some parameters that anything is loaded into, with those in the same memory."""
    places = dict.fromkeys(ties[name] for name in sorted(parameters) if loaded.get(name))
    return tuple(tuple(sorted(place, key=lambda name: not loaded.get(name))) for place in places)


def _tensors(loaded: Trace) -> Iterator[str]:
    """All tensors that are loaded into anything."""
    found = dict.fromkeys(loaded.regions)
    for tensors in loaded.parameters.values():
        found.update(dict.fromkeys(sorted(tensors)))
    return iter(found)


def _ties(model: torch.nn.Module) -> dict[str, tuple[str, ...]]:
    """Every parameter -> those in the same memory, itself among them."""
    spots: dict[int, list[str]] = {}
    for name, tensor in places(model):
        spots.setdefault(storage_key(tensor), []).append(name)
    return {name: tuple(names) for names in spots.values() for name in names}


def places(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers of all modules; of a module with several names, under the first."""
    for prefix, module in model.named_modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):  # noqa: SLF001
            if tensor is not None:
                yield f"{prefix}.{name}" if prefix else name, tensor


def _unit(
    model: torch.nn.Module, parameter: str, is_processed: Callable[[torch.nn.Module], bool]
) -> str:
    """Equal for parameters that are processed together."""
    name = module_of(parameter)
    return f"{name}." if is_processed(model.get_submodule(name)) else parameter


def module_of(parameter: str) -> str:
    """The name of the module that has a parameter."""
    return parameter.rpartition(".")[0]
