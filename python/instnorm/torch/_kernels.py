"""The kernels on tensors: the only file that calls instnorm._C.

They take plain tensors on the CPU, know nothing of gradients, and raise TypeError or ValueError,
before anything is written, for whatever they do not take.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from .. import _C
from .._moments import Moments as ArrayMoments
from .._typing import DataFormat
from ._call import Call
from ._extras import NONE, Extras
from ._moments import Moments

MaybeTensor = TypeVar("MaybeTensor", Tensor, Tensor | None)


def constant(tensor: MaybeTensor) -> MaybeTensor:
    """The same memory, without a gradient."""
    return tensor.detach() if tensor is not None and tensor.requires_grad else tensor


def _constants(moments: Moments) -> ArrayMoments:
    if moments.mean.requires_grad or moments.m2.requires_grad or moments.count.requires_grad:
        moments = moments.detach()
    return cast(ArrayMoments, moments)  # the kernels read any object with its fields


def normalize(call: Call, extras: Extras, moments: Moments | None = None) -> Tensor:
    """y; running statistics are updated where the input's own are used."""
    y, arguments, keywords = _prepared(call, extras, moments)
    _C.instance_norm(*arguments, out=y, **keywords)
    if call.updates():
        changed(call.running_mean, call.running_var)
    return y


def normalize_and_moments(
    call: Call, extras: Extras, moments: Moments | None = None
) -> tuple[Tensor, ArrayMoments]:
    """The same, and the moments that the input was normalised by."""
    y, arguments, keywords = _prepared(call, extras, moments)
    _, used = _C.instance_norm(*arguments, out=y, return_moments=True, **keywords)
    if call.updates():
        changed(call.running_mean, call.running_var)
    return y, used


def _prepared(
    call: Call, extras: Extras, moments: Moments | None
) -> tuple[Tensor, tuple[Any, ...], dict[str, Any]]:
    """Where y goes, and what the kernels are called with."""
    y = _C.empty_like_tensor(constant(call.input))
    keywords = {} if extras is NONE else extras.given()
    if moments is not None:
        keywords["moments"] = _constants(moments)
    return y, (*map(constant, call.tensors()), *call[5:]), keywords


def backward(
    grad_output: Tensor,
    input: Tensor,
    moments: ArrayMoments | Moments,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    constant_moments: bool,
    extras: Extras = NONE,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients that are needed of input, weight and bias, as far as there are these."""
    return _C.backward_of_tensor(
        grad_output,
        input,
        _constants(moments) if isinstance(moments, Moments) else moments,
        weight,
        bias,
        eps,
        not constant_moments,
        needs[0],
        needs[1] and weight is not None,
        needs[2] and bias is not None,
        *_unnamed(extras),
    )


def _unnamed(extras: Extras) -> Any:
    lengths, mask, nan_policy, data_format, weight_offset, activation = extras
    return lengths, mask, nan_policy, data_format, float(weight_offset), activation


def double_backward(
    cotangents: tuple[Tensor | None, Tensor | None, Tensor | None],
    grad_output: Tensor,
    input: Tensor,
    moments: object,
    weight: Tensor | None,
    eps: float,
    constant_moments: bool,
    needs: tuple[bool, bool, bool],
    extras: Extras = NONE,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients that are needed of grad_output, input and weight; see `double_backward_takes`.

    `cotangents` belong to the gradients of input, weight and bias.
    """
    return _C.double_backward_of_tensor(
        *cotangents, grad_output, input, moments, weight, eps, not constant_moments, *needs,
        extras.lengths, cast(DataFormat, extras.data_format), extras.weight_offset,
    )


def double_backward_takes(extras: Extras) -> bool:
    """Which values are there must be known row by row, and an activation has a derivative of its own."""
    return extras.mask is None and extras.nan_policy != "omit" and extras.activation is None


def moments(input: Tensor, extras: Extras = NONE) -> Moments:
    return tensors(_C.moments(constant(input), **extras.given()))


def moments_backward(
    input: Tensor, m: Moments, grad_mean: Tensor | None, grad_m2: Tensor | None, extras: Extras
) -> Tensor:
    """Gradient of the input's own moments m, grad_mean / count + 2 * grad_m2 * (x - mean).

    That is a forward by the moments (mean, variance 1).
    """
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    one = torch.ones_like(m.mean)
    zero = torch.zeros_like(one, dtype=dtype)
    weight = zero if grad_m2 is None else (2.0 * grad_m2).to(dtype)
    bias = zero if grad_mean is None else (grad_mean / m.count.clamp(min=1.0)).to(dtype)
    call = Call(constant(input), None, None, weight, bias, True, 0.0, 0.0)
    gradient = normalize(
        call,
        extras._replace(weight_offset=0.0, activation=None),
        Moments(2.0 * one, m.mean, 2.0 * one),
    )
    if extras.nan_policy == "omit":
        gradient.masked_fill_(input.isnan(), 0.0)
    return gradient


def merge(a: Moments, b: Moments) -> Moments:
    """Raises ValueError for what is not float64 (N, C)."""
    return tensors(_C.moments_merge(_constants(a), _constants(b)))


def denormalize(
    y: Tensor, m: Moments, weight: Tensor | None, bias: Tensor | None, eps: float, extras: Extras
) -> Tensor:
    x = _C.empty_like_tensor(constant(y))
    _C.denormalize(
        constant(y), _constants(m), constant(weight), constant(bias), eps, out=x, **extras.given()
    )
    return x


def tensors(m: ArrayMoments) -> Moments:
    return Moments(torch.from_numpy(m.count), torch.from_numpy(m.mean), torch.from_numpy(m.m2))


def changed(*written: Tensor | None) -> None:
    """Tells autograd, which cannot see it, that they were written."""
    torch.autograd.graph.increment_version([t for t in written if t is not None])


# The shortest ways there are, for a call without extras on (N, C, L, ...), not empty. They take tensors
# with gradients, which the caller sees to, as he tells autograd what was changed.
normalize_tensor = _C.normalize_tensor
normalize_tensor_saving = _C.normalize_tensor_saving
saved_moments = _C.saved_moments
backward_of_tensor = _C.backward_of_tensor
