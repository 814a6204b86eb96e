"""instance_norm, moments and denormalize for PyTorch.

What is public, and what PyTorch asks of a public function: that a tensor with a __torch_function__, or
a mode with one, is given the call. Who computes the others is chosen in `_ways`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import _get_overloaded_args, handle_torch_function, has_torch_function_variadic

from .._typing import Activation, DataFormat, NanPolicy
from . import _checks, _ways
from ._call import Call
from ._extras import Extras
from ._moments import Moments

# Whose own type says that all arguments are of the kinds that the function takes.
_handle: Callable[..., Any] = handle_torch_function

__all__ = ["Moments", "denormalize", "instance_norm", "moments"]


@overload
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
    weight_offset: float = 0.0,
    activation: Activation | None = None,
    moments: Moments | None = None,
    return_moments: Literal[False] = False,
) -> Tensor: ...
@overload
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
    weight_offset: float = 0.0,
    activation: Activation | None = None,
    moments: Moments | None = None,
    return_moments: Literal[True],
) -> tuple[Tensor, Moments]: ...
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    nan_policy: str = "propagate",
    data_format: str = "NCL",
    weight_offset: float = 0.0,
    activation: str | None = None,
    moments: Moments | None = None,
    return_moments: bool = False,
) -> Tensor | tuple[Tensor, Moments]:
    """Normalise each row of `input` by its own mean and variance.

        y = activation((x - mean) / sqrt(var + eps) * (weight + weight_offset) + bias)

    ``torch.nn.functional.instance_norm``, and the extras. A row is one instance n and one channel c;
    mean and the biased variance are taken over its length.

    Parameters
    ----------
    input : Tensor (N, C, L) or (N, C, D1, D2, ...)
        float16, bfloat16, float32 or float64, with any strides. Rank 2 does what PyTorch's does;
        with extras it is (C, L).
    running_mean, running_var : Tensor (C,), optional
        With use_input_stats they are updated in place, without they are what normalises.
    weight, bias : Tensor (C,) or (N, C), optional
        (N, C): one for each instance.
    use_input_stats, momentum, eps
        As PyTorch has them.
    lengths : Tensor (N,), int32 or int64, optional
        Only the first lengths[n] values of the rows of n are there: the others have no effect, and y
        and the gradient are 0 there. Rows of fewer than 2 values give the bias.
    mask : bool Tensor, optional
        True where a value is there: (N, L), (N, 1, L) or (N, C, L); with NLC (N, L), (N, L, 1) or
        (N, L, C). Not together with lengths.
    nan_policy : {"propagate", "omit", "raise"}
        "omit": a NaN is left out of the statistics, stays NaN in y and gets gradient 0. "raise": it
        is a ValueError.
    data_format : {"NCL", "NLC"}
        "NLC": the input is (N, L, C); for rank 2 (L, C).
    weight_offset : float
        Added to the weight, if there is one.
    activation : {None, "relu", "leaky_relu", "gelu", "gelu_tanh", "silu"}
        Applied in the same pass.
    moments : Moments, optional
        Normalise by these instead of the input's own.
    return_moments : bool
        Also return the Moments that were used.

    Returns
    -------
    Tensor
        Contiguous, of the input's shape and dtype.
    Moments
        Only with return_moments.

    Raises
    ------
    RuntimeError, ValueError, TypeError, IndexError, NotImplementedError
        What PyTorch raises, with its texts; ValueError or TypeError for the extras.

    Examples
    --------
    >>> x = torch.tensor([[[1.0, 3.0, 1.0, 3.0]]])
    >>> instance_norm(x, eps=0.0)
    tensor([[[-1.,  1., -1.,  1.]]])
    >>> instance_norm(x, eps=0.0, lengths=torch.tensor([2]))
    tensor([[[-1.,  1.,  0.,  0.]]])
    """
    if (
        lengths is None
        and mask is None
        and moments is None
        and not return_moments
        and activation is None
        # Of an array, == would be an array.
        and isinstance(nan_policy, str)
        and nan_policy == "propagate"
        and isinstance(data_format, str)
        and data_format == "NCL"
        and isinstance(weight_offset, (float, int))
        and weight_offset == 0.0
    ):
        return normalize(
            input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
        )
    call = Call(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    extras = Extras(lengths, mask, nan_policy, data_format, weight_offset, activation)
    if moments is not None:
        _checks.is_moments("instance_norm", "moments", moments)
    if not isinstance(return_moments, bool):
        raise TypeError(
            f"[instance_norm] return_moments must be a bool, got {type(return_moments).__name__}"
        )
    if not torch.compiler.is_compiling():
        tensors = (*call.tensors(), lengths, mask, *(moments or ()))
        if has_torch_function_variadic(*tensors):
            handled: Tensor | tuple[Tensor, Moments] = _handle(
                instance_norm,
                tensors,
                *call,
                **extras._asdict(),
                moments=moments,
                return_moments=return_moments,
            )
            return handled
    y, m = _ways.normalize_and_moments(call, extras, moments, return_moments)
    return (y, cast(Moments, m)) if return_moments else y


def normalize(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """instance_norm without extras."""
    arguments = (input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    if (
        has_torch_function_variadic(input, running_mean, running_var, weight, bias)
        and not torch.compiler.is_compiling()
    ):
        return _overridden(Call(*arguments))
    return _ways.normalize(*arguments)


def _overridden(call: Call) -> Tensor:
    """For tensors with a __torch_function__, or under a mode with one."""
    ordinary = Tensor.__torch_function__.__func__  # type: ignore[attr-defined]
    # Handlers of their own know PyTorch's function by its name; to others ours is as good.
    known = all(
        getattr(type(t).__torch_function__, "__func__", None) is ordinary
        for t in _get_overloaded_args(call.tensors())
    )
    input, *_ = call
    rest = call._asdict()
    del rest["input"]
    function = instance_norm if known else F.instance_norm
    y: Tensor = _handle(function, call.tensors(), input, **rest)
    return y


def moments(
    input: Tensor,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
) -> Moments:
    """Count, mean and sum of squared deviations of each row of `input`, as float64 (N, C).

    Parameters
    ----------
    input : Tensor (N, C, L), (C, L) or (N, C, D1, D2, ...)
        float16, bfloat16, float32 or float64.
    lengths, mask, nan_policy, data_format
        As `instance_norm` has them.

    Returns
    -------
    Moments
        Of shape (1, C) for rank 2; differentiable in the input.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.

    Examples
    --------
    >>> a, b = moments(torch.tensor([[[1.0, 2.0]]])), moments(torch.tensor([[[3.0]]]))
    >>> a.merge(b).mean
    tensor([[2.]], dtype=torch.float64)
    """
    extras = Extras(lengths, mask, nan_policy, data_format)
    tensors = (input, lengths, mask)
    if has_torch_function_variadic(*tensors) and not torch.compiler.is_compiling():
        options = {"nan_policy": nan_policy, "data_format": data_format}
        handled: Moments = _handle(
            moments, tensors, input, lengths=lengths, mask=mask, **options
        )
        return handled
    return _ways.moments(input, extras)


def denormalize(
    y: Tensor,
    m: Moments,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    weight_offset: float = 0.0,
    data_format: DataFormat = "NCL",
) -> Tensor:
    """The way back: (y - bias) / (weight + weight_offset) * sqrt(var + eps) + mean.

    Parameters
    ----------
    y : Tensor (N, C, L), (C, L) or (N, C, D1, D2, ...)
        What `instance_norm` gave, or something in its units.
    m : Moments
        What the input was normalised by.
    weight, bias, eps, weight_offset, data_format
        As they were given to `instance_norm`. Where the weight is 0 the result is what IEEE
        arithmetic says of a division by 0.

    Returns
    -------
    Tensor
        Of y's shape and dtype; differentiable in all arguments.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.

    Examples
    --------
    >>> x = torch.tensor([[[1.0, 3.0, 1.0, 3.0]]])
    >>> y, m = instance_norm(x, return_moments=True)
    >>> bool((denormalize(y, m) - x).abs().max() < 1e-6)
    True
    """
    extras = Extras(data_format=data_format, weight_offset=weight_offset)
    _checks.is_moments("denormalize", "m", m)
    tensors = (y, *m, weight, bias)
    if has_torch_function_variadic(*tensors) and not torch.compiler.is_compiling():
        options = {"weight_offset": weight_offset, "data_format": data_format}
        handled: Tensor = _handle(
            denormalize, tensors, y, m, weight, bias, eps, **options
        )
        return handled
    return _ways.denormalize(y, m, weight, bias, eps, extras)
