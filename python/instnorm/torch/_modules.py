"""The layers: torch.nn's, with another function inside."""

from __future__ import annotations

import copy
import inspect
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from .._typing import Activation, DataFormat
from . import functional
from ._extras import ACTIVATIONS, DATA_FORMATS, one_of

# PyTorch has it since some release after 2.10.
_BASE_HAS_BIAS = "bias" in inspect.signature(torch.nn.InstanceNorm1d.__init__).parameters


class _Extended(torch.nn.modules.instancenorm._InstanceNorm):
    """What InstanceNorm1d and its lazy form add to PyTorch's."""

    # Of the class, so that an instance has them that was made as one of PyTorch's.
    data_format: DataFormat = "NCL"
    activation: Activation | None = None

    def _extend(self, bias: bool, data_format: DataFormat, activation: Activation | None) -> None:
        one_of("InstanceNorm1d", "data_format", data_format, DATA_FORMATS)
        if activation is not None:
            one_of("InstanceNorm1d", "activation", activation, ACTIVATIONS)
        if not _BASE_HAS_BIAS and not bias:
            del self.bias
            self.register_parameter("bias", None)
        if data_format != "NCL":
            self.data_format = data_format
        if activation is not None:
            self.activation = activation

    def extra_repr(self) -> str:
        text = str(super().extra_repr())  # type: ignore[no-untyped-call]
        if self.data_format != "NCL":
            text += f", data_format={self.data_format}"
        if self.activation is not None:
            text += f", activation={self.activation}"
        return text

    def reset_parameters(self) -> None:
        if not _BASE_HAS_BIAS and self.affine and self.bias is None:
            self.reset_running_stats()
            torch.nn.init.ones_(self.weight)
        else:
            super().reset_parameters()

    def forward(
        self, input: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Normalise (N, C, L) or (C, L); with data_format "NLC", (N, L, C) or (L, C).

        ``lengths`` and ``mask`` are those of `functional.instance_norm`.
        """
        if isinstance(input, Proxy) and _is_inside(self, input):
            # A layer is one node for torch.fx, as PyTorch's is.
            return _fx_node(self, input, lengths, mask)
        if lengths is None and mask is None and self.data_format == "NCL" and self.activation is None:
            if input.__class__ is Tensor and input.dim() == 3 and input.size(1) == self.num_features:
                return self._apply_instance_norm(input)  # what PyTorch's forward comes to
            y: Tensor = super().forward(input)
            return y
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        self._check_channels(input)
        return functional.instance_norm(
            input,
            *self._state(),
            lengths=lengths,
            mask=mask,
            data_format=self.data_format,
            activation=self.activation,
        )

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        return functional.normalize(input, *self._state())

    def _state(self) -> tuple[Any, ...]:
        momentum = self.momentum
        # Found by torch.nn.Module only after a long search; but they may have been replaced by
        # attributes or, where they are parametrised, by properties.
        parameters, buffers = self._parameters, self._buffers
        return (
            buffers["running_mean"] if "running_mean" in buffers else self.running_mean,
            buffers["running_var"] if "running_var" in buffers else self.running_var,
            parameters["weight"] if "weight" in parameters else self.weight,
            parameters["bias"] if "bias" in parameters else self.bias,
            self.training or not self.track_running_stats,
            momentum if momentum is not None else 0.0,
            self.eps,
        )

    def _check_channels(self, input: Tensor) -> None:
        dim = input.dim() - (1 if self.data_format == "NLC" else 2)
        if input.size(dim) == self.num_features:
            return
        if self.affine:
            raise ValueError(
                f"expected input's size at dim={dim} to match num_features ({self.num_features}), "
                f"but got: {input.size(dim)}."
            )
        warnings.warn(
            f"input's size at dim={dim} does not match num_features. You can silence this warning "
            "by not passing in num_features, which is not used because affine=False",
            stacklevel=3,
        )


def _base_arguments(bias: bool) -> dict[str, bool]:
    return {"bias": bias} if _BASE_HAS_BIAS else {}


class InstanceNorm1d(_Extended, torch.nn.InstanceNorm1d):
    """``torch.nn.InstanceNorm1d``, faster and more accurate, with a few options more.

        y = activation((x - mean) / sqrt(var + eps) * weight + bias)

    It is one (isinstance), with the same attributes, checks, messages, repr and state_dict.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        As PyTorch has them.
    data_format : {"NCL", "NLC"}
        "NLC": inputs are (N, L, C) or (L, C).
    activation : {None, "relu", "leaky_relu", "gelu", "gelu_tanh", "silu"}
        Applied to the result in the same pass.

    Raises
    ------
    ValueError, RuntimeError, TypeError
        In a call, what PyTorch's layer raises; ValueError or TypeError for the options more.

    Examples
    --------
    >>> norm = InstanceNorm1d(2, affine=True)
    >>> norm(torch.ones(3, 2, 5)).shape
    torch.Size([3, 2, 5])
    >>> norm(torch.ones(3, 2, 5), lengths=torch.tensor([5, 2, 0])).shape
    torch.Size([3, 2, 5])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        data_format: DataFormat = "NCL",
        activation: Activation | None = None,
    ) -> None:
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            device=device,
            dtype=dtype,
            **_base_arguments(bias),
        )
        self._extend(bias, data_format, activation)

    def __prepare_scriptable__(self) -> torch.nn.Module:
        """For torch.jit.script: PyTorch's layer with the same tensors."""
        if self.data_format != "NCL" or self.activation is not None:
            raise RuntimeError(
                "[InstanceNorm1d] data_format and activation cannot be scripted: TorchScript has "
                "PyTorch's operator only"
            )
        twin = copy.copy(self)
        twin.__class__ = torch.nn.InstanceNorm1d  # type: ignore[assignment]
        return twin


class LazyInstanceNorm1d(_Extended, torch.nn.LazyInstanceNorm1d):
    """``torch.nn.LazyInstanceNorm1d``: becomes an `InstanceNorm1d` at its first input.

    Parameters
    ----------
    eps, momentum, affine, track_running_stats, device, dtype, bias
        As PyTorch has them: affine and track_running_stats are True by default.
    data_format, activation
        As `InstanceNorm1d` has them.

    Examples
    --------
    >>> norm = LazyInstanceNorm1d()
    >>> norm(torch.ones(3, 2, 5)).shape
    torch.Size([3, 2, 5])
    >>> norm
    InstanceNorm1d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    cls_to_become = InstanceNorm1d

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        data_format: DataFormat = "NCL",
        activation: Activation | None = None,
    ) -> None:
        super().__init__(
            eps,
            momentum,
            affine,
            track_running_stats,
            device=device,
            dtype=dtype,
            **_base_arguments(bias),
        )
        if not _BASE_HAS_BIAS and not bias:
            raise TypeError("[LazyInstanceNorm1d] bias=False needs a newer PyTorch")
        self._extend(bias, data_format, activation)

    def initialize_parameters(
        self, input: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None
    ) -> None:
        # PyTorch takes dimension 1, which is the length of an unbatched input.
        dim = -1 if self.data_format == "NLC" else 1 if input.dim() != 2 else 0
        super().initialize_parameters(input.movedim(dim, 1) if input.dim() > 1 else input)


def _is_inside(module: torch.nn.Module, input: Proxy) -> bool:
    tracer: Any = input.tracer
    return tracer.root is not module


def _fx_node(
    module: torch.nn.Module, input: Proxy, lengths: Any = None, mask: Any = None
) -> Any:
    optional = {"lengths": lengths, "mask": mask}
    keywords = {name: value for name, value in optional.items() if value is not None}
    tracer: Any = input.tracer
    path = tracer.path_of_module(module)
    return tracer.create_proxy("call_module", path, (input,), keywords)
