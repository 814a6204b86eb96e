"""convert: a model's layers become ours, in place."""

from __future__ import annotations

import functools
import warnings
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.nn.utils import parametrize

from . import _accepts, functional
from ._modes import recorded
from ._modules import InstanceNorm1d, LazyInstanceNorm1d, _fx_node, _is_inside

ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)


class ChannelGroupNorm(torch.nn.GroupNorm):
    """GroupNorm(C, C): instance normalisation where its input is (N, C, L) and L > 1.

    What `convert` makes of a ``torch.nn.GroupNorm`` with as many groups as channels, as wav2vec 2.0
    and HuBERT have it. For other ranks, and L == 1, it does what GroupNorm does.
    """

    def forward(
        self, input: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Normalise; ``lengths`` and ``mask``, of (N, C, L) only, as in `functional.instance_norm`."""
        if isinstance(input, Proxy) and _is_inside(self, input):
            y: Tensor = _fx_node(self, input, lengths, mask)
            return y
        if lengths is None and mask is None:
            if not self._normalises_instances(input) or input.shape[2] == 1 or not _ours(input):
                return super().forward(input)
        elif not self._normalises_instances(input):
            raise ValueError(
                f"[ChannelGroupNorm] lengths and mask need an input (N, {self.num_channels}, L) that "
                f"fits the parameters' dtype, got shape {tuple(input.shape)} and {input.dtype}"
            )
        return functional.instance_norm(
            input, None, None, self.weight, self.bias, True, 0.0, self.eps, lengths=lengths, mask=mask
        )

    def _normalises_instances(self, input: Tensor) -> bool:
        """Of other pairs of dtypes, and of empty inputs, GroupNorm has rules of its own."""
        return (
            input.dim() == 3
            and input.shape[1] == self.num_channels == self.num_groups
            and input.numel() > 0
            and _accepts.parameters(input.dtype, self.weight, self.bias, True)
        )


def _ours(input: Tensor) -> bool:
    """Would instance_norm compute itself? Else PyTorch's operator should be this layer's own."""
    return _accepts.plain(input) and not recorded()


_BECOMES: dict[type[torch.nn.Module], type[torch.nn.Module]] = {
    torch.nn.InstanceNorm1d: InstanceNorm1d,
    torch.nn.LazyInstanceNorm1d: LazyInstanceNorm1d,
    torch.nn.GroupNorm: ChannelGroupNorm,
}
# Where a subclass says itself how it computes, ours must not.
_COMPUTING = ("forward", "__call__", "_apply_instance_norm", "_handle_no_batch_input", "_check_input_dim")


def convert(module: ModuleT) -> ModuleT:
    """Make every layer of a model that normalises instances one of ours, in place.

    ``InstanceNorm1d``, ``LazyInstanceNorm1d`` and ``GroupNorm(C, C)``, in the model or the model
    itself, change their class. They stay the same objects: parameters, buffers, hooks, names,
    parametrisations and the training flag are untouched, so optimisers and checkpoints go on
    working. Subclasses that compute in a way of their own are left alone, with a warning that names
    them. A second call changes nothing.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        The same object.

    Raises
    ------
    TypeError
        For what is no module.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Conv1d(3, 8, 5), torch.nn.InstanceNorm1d(8))
    >>> instnorm.torch.convert(model) is model
    True
    >>> isinstance(model[1], instnorm.torch.InstanceNorm1d)
    True
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"[convert] module must be a torch.nn.Module, got {type(module).__name__}")
    left = []
    for name, layer in module.named_modules():
        base = _base(layer)
        if base is None:
            continue
        if _computes_itself(type(layer), base):
            left.append(f"{name or 'the module itself'} ({type(layer).__name__})")
        else:
            layer.__class__ = _converted(type(layer), base, parametrize.is_parametrized(layer))
    if left:
        warnings.warn(
            f"left alone, for they compute in a way of their own: {', '.join(left)}", stacklevel=2
        )
    return module


def _base(layer: torch.nn.Module) -> type[torch.nn.Module] | None:
    """PyTorch's class that it is one of; None if there is nothing to convert."""
    if isinstance(layer, (torch.jit.ScriptModule, *_BECOMES.values())):
        return None
    for base in _BECOMES:
        if isinstance(layer, base):
            if isinstance(layer, torch.nn.GroupNorm) and layer.num_groups != layer.num_channels:
                return None
            return base
    return None


def _computes_itself(cls: type[torch.nn.Module], base: type[torch.nn.Module]) -> bool:
    above = cls.__mro__[: cls.__mro__.index(base)]
    return any(name in vars(c) for c in above for name in _COMPUTING)


def _converted(cls: Any, base: Any, parametrized: bool) -> type[Any]:
    if cls is base:
        return _BECOMES[base]
    if not parametrized:
        return _mixed(cls, base)
    # PyTorch made this class for the layer, and takes a parametrisation off by going back to its
    # one base.
    bases = (_converted(cls.__bases__[0], base, False),)
    members = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
    return type(cls.__name__, bases, members)


@functools.cache
def _mixed(cls: type[Any], base: type[torch.nn.Module]) -> type[Any]:
    """A subclass of PyTorch's layer that computes as ours does."""

    def reduce(self: Any, protocol: int) -> Any:
        # Pickled as what it was, to be converted again.
        found: Any = object.__reduce_ex__(self, protocol)
        return _unpickle, (cls, base), *found[2:]

    members = {"__reduce_ex__": reduce, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls, _BECOMES[base]), members)


def _unpickle(cls: Any, base: Any) -> torch.nn.Module:
    made: Any = _mixed(cls, base)
    layer: torch.nn.Module = made.__new__(made)
    return layer
