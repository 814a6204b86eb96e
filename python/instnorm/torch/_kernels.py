"""The kernels on tensors: the only file that calls instnorm._C.

They take plain tensors on the CPU, know nothing of gradients, and raise TypeError or ValueError,
before anything is written, for whatever they do not take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from .. import _C
from .._moments import Moments as ArrayMoments
from ._call import Call
from ._extras import NONE, Extras
from ._moments import Moments

_contiguous = torch.contiguous_format
MaybeTensor = TypeVar("MaybeTensor", Tensor, Tensor | None)


def constant(tensor: MaybeTensor) -> MaybeTensor:
    """The same memory, without a gradient."""
    return tensor.detach() if tensor is not None and tensor.requires_grad else tensor


def _constants(moments: Moments) -> ArrayMoments:
    return cast(ArrayMoments, moments.detach())  # the kernels read any object with its fields


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
    y = torch.empty_like(call.input, memory_format=_contiguous)
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
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients of input, weight and bias."""
    return _C.instance_norm_backward(
        constant(grad_output),
        constant(input),
        _constants(moments) if isinstance(moments, Moments) else moments,
        constant(weight),
        constant(bias),
        eps,
        use_input_stats=not constant_moments,
        **({} if extras is NONE else extras.given()),
    )


def moments(input: Tensor, extras: Extras = NONE) -> Moments:
    return tensors(_C.moments(constant(input), **extras.given()))


def denormalize(
    y: Tensor, m: Moments, weight: Tensor | None, bias: Tensor | None, eps: float, extras: Extras
) -> Tensor:
    x = torch.empty_like(y, memory_format=_contiguous)
    _C.denormalize(
        constant(y), _constants(m), constant(weight), constant(bias), eps, out=x, **extras.given()
    )
    return x


def tensors(m: ArrayMoments) -> Moments:
    return Moments(torch.from_numpy(m.count), torch.from_numpy(m.mean), torch.from_numpy(m.m2))


def changed(*written: Tensor | None) -> None:
    """Tells autograd, which cannot see it, that they were written."""
    torch.autograd.graph.increment_version([t for t in written if t is not None])


# The shortest ways there are, for a call without extras on (N, C, L, ...), not empty. The caller sees
# to gradients, and tells autograd what was changed.
normalize_tensor: Callable[..., Tensor]
normalize_tensor_saving: Callable[..., tuple[Tensor, object]]
saved_moments: Callable[[Any], ArrayMoments]
backward_of_tensor: Callable[..., tuple[Tensor | None, Tensor | None, Tensor | None]]
double_backward_of_tensor: Callable[..., tuple[Tensor | None, Tensor | None, Tensor | None]]


def _check_plain(input: Tensor, use_input_stats: object, *numbers: object) -> None:
    if (
        input.dim() < 3
        or input.numel() == 0
        or type(use_input_stats) is not bool
        or not all(type(number) is float for number in numbers)
    ):
        raise ValueError("[instance_norm] input must be (N, C, L, ...) and not empty")


def _normalize_by_protocol(*arguments: Any) -> Tensor:
    _check_plain(arguments[0], *arguments[5:])
    y, arguments, _ = _prepared(Call(*arguments), NONE, None)
    _C.instance_norm(*arguments, out=y)
    return y


def _normalize_saving_by_protocol(*arguments: Any) -> tuple[Tensor, ArrayMoments]:
    _check_plain(arguments[0], *arguments[5:])
    y, arguments, _ = _prepared(Call(*arguments), NONE, None)
    _, moments = _C.instance_norm(*arguments, out=y, return_moments=True)
    return y, moments


def _itself(moments: ArrayMoments) -> ArrayMoments:
    return moments


def _backward_by_protocol(
    grad_output: Tensor,
    input: Tensor,
    moments: Any,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    use_input_stats: bool,
    *needed: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    grads = backward(grad_output, input, moments, weight, bias, eps, not use_input_stats)
    gx, gw, gb = (g if needs else None for g, needs in zip(grads, needed))
    return gx, gw, gb


def _no_double_backward(*arguments: Any) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    raise TypeError("[instance_norm_double_backward] this PyTorch's tensors cannot be read by it")


# Since 2.10 PyTorch's tensors can be read by way of C.
if hasattr(Tensor, "__dlpack_c_exchange_api__"):
    normalize_tensor = _C.normalize_tensor
    normalize_tensor_saving = _C.normalize_tensor_saving
    saved_moments = _C.saved_moments
    backward_of_tensor = _C.backward_of_tensor
    double_backward_of_tensor = _C.double_backward_of_tensor
else:
    normalize_tensor = _normalize_by_protocol
    normalize_tensor_saving = _normalize_saving_by_protocol
    saved_moments = _itself
    backward_of_tensor = _backward_by_protocol
    double_backward_of_tensor = _no_double_backward
