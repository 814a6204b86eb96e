"""Who computes a call. No single way of extending PyTorch carries everything, so each is looked at:

    ordinary tensors on the CPU             the kernels; with gradients, by an autograd.Function
    torch.compile                           the kernels, as operators
    torch.func transforms, forward mode     the formulas in PyTorch's own operations
    whatever else (other devices, meta      PyTorch's own operator, which also raises its own
    and fake tensors, tracers, exporters,   errors for what it does not accept; extras, of which
    empty inputs, ...)                      it has none, by the formulas
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from . import _accepts, _checks, _compiled, _formulas, _kernels, _statistics
from ._autograd import apply_plain, apply_with_extras
from ._call import Call
from ._extras import NONE, Extras, as_float, check
from ._modes import (
    _dispatch_modes,
    _tracing,
    _transforms_active,
    differentiating_forward,
    exporting,
    special,
)
from ._moments import Moments

_MOST_DIMENSIONS = 8  # of the kernels
# How they refuse what they do not take; RuntimeError is that of a tensor without memory or sizes.
_REFUSED = (TypeError, ValueError, RuntimeError)


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
    """instance_norm without extras. What is common goes first, and unchecked: the kernels check."""
    arguments = (input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    if torch.compiler.is_compiling():
        return _compiling(Call(*arguments))
    # in_special_mode(), without the call.
    if _transforms_active() or _dispatch_modes() or _tracing() or forward_ad._current_level >= 0:
        return _in_special_mode(Call(*arguments))
    try:
        if (
            (weight is None and bias is None)
            or input.dtype not in _accepts.HALVES
            or _accepts.halves(input.dtype, weight, bias, running_mean is not None)
        ) and (
            running_mean is None
            or (
                _accepts.buffer(running_mean, use_input_stats)
                and _accepts.variance(input, running_mean, running_var, weight)
            )
        ):
            if not torch.is_grad_enabled() or not (
                input.requires_grad
                or (weight is not None and weight.requires_grad)
                or (bias is not None and bias.requires_grad)
            ):
                y = _kernels.normalize_tensor(*arguments)
                if running_mean is not None and use_input_stats:
                    _kernels.changed(running_mean, running_var)
                return y
            if not (
                (weight is not None and weight.is_inference())
                or (bias is not None and bias.is_inference())
            ):
                return apply_plain(*arguments)
    except (TypeError, ValueError, AttributeError):
        pass  # not what the kernels take, or no tensors
    except RuntimeError:
        if input.layout == torch.strided:
            raise
    return _uncommon(Call(*arguments))


def _compiling(call: Call) -> Tensor:
    if _accepts.per_instance(call.weight, call.bias):
        return normalize_and_moments(call, NONE, None)[0]
    if not exporting() and _accepts.numbers(call) and _accepts.call(call, call.use_input_stats):
        if _compiled.possible() and _accepts.plain(*call.tensors()):
            return _compiled.normalize_and_moments(call, NONE, None)[0]
        if differentiating_forward() and call.input.device.type == "cpu":
            return _formulas.instance_norm(call, NONE, None)[0]
    return F.instance_norm(*call)


def _in_special_mode(call: Call) -> Tensor:
    if _accepts.per_instance(call.weight, call.bias):
        return normalize_and_moments(call, NONE, None)[0]
    if (
        differentiating_forward()
        and call.input.device.type == "cpu"
        and _accepts.call(call, call.use_input_stats)
        and _accepts.numbers(call)
    ):
        return _formulas.instance_norm(call, NONE, None)[0]
    return F.instance_norm(*call)


def _uncommon(call: Call) -> Tensor:
    if type(call.eps) is not float or type(call.momentum) is not float:
        eps, momentum = as_float(call.eps), as_float(call.momentum)
        if eps is not None and momentum is not None:
            return normalize(*call._replace(eps=eps, momentum=momentum))
    elif _accepts.per_instance(call.weight, call.bias):
        return normalize_and_moments(call, NONE, None)[0]
    return F.instance_norm(*call)


def normalize_and_moments(
    call: Call, extras: Extras, given: Moments | None, wanted: bool = False
) -> tuple[Tensor, Moments | None]:
    """instance_norm with extras. The moments that it used are there if they are `wanted`.

    What the kernels refuse is looked at again, for PyTorch's words or a better name of it.
    """
    others = (extras.lengths, extras.mask, *(given or ()))
    plain = _accepts.plain(*call.tensors(), *others) and not (
        given is not None and any(m.requires_grad for m in given)
    )
    numbers = _accepts.numbers(call) and type(extras.weight_offset) is float
    if plain and numbers and not special():
        try:
            return _with_kernels(call, extras, given, wanted)
        except _REFUSED:
            _check(call, extras, given)
            raise
    call = _check(call, extras, given)
    if plain and torch.compiler.is_compiling():
        if _compiled.possible():
            return _compiled.normalize_and_moments(call, extras, given)
    elif plain and not numbers and not special():
        return _with_kernels(call, extras, given, wanted)
    return _formulas.instance_norm(call, extras, given)


def _check(call: Call, extras: Extras, given: Moments | None) -> Call:
    call = _checks.kinds(call, given)
    check("instance_norm", call.input, extras)
    if given is not None and not call.use_input_stats:
        raise ValueError("[instance_norm] moments with use_input_stats false: give one of them")
    _checks.as_pytorch(call, extras, given)
    return call


def _with_kernels(
    call: Call, extras: Extras, given: Moments | None, wanted: bool
) -> tuple[Tensor, Moments | None]:
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in call.differentiable()
    ):
        y, *moments = apply_with_extras(*call, extras, given, wanted)
        return y, Moments(*moments) if wanted else None
    if not wanted:
        return _kernels.normalize(call, extras, given), None
    y, m = _kernels.normalize_and_moments(call, extras, given)
    return y, _kernels.tensors(m)


def moments(input: Tensor, extras: Extras) -> Moments:
    if torch.compiler.is_compiling():
        return _formulas.moments(input, extras)
    if _accepts.plain(input, extras.lengths, extras.mask) and input is not None and not special():
        try:
            if torch.is_grad_enabled() and input.requires_grad:
                return _statistics.moments(input, extras)
            return _kernels.moments(input, extras)
        except _REFUSED:
            check("moments", input, extras)
            raise
    check("moments", input, extras)
    return _formulas.moments(input, extras)


def merge(a: Moments, b: Moments) -> Moments | None:
    """By the kernels, in a tenth of the time; None where the formula must do it."""
    tensors = (*a, *b)
    if not _accepts.plain(*tensors) or special() or any(t.dtype != torch.float64 for t in tensors):
        return None
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return None
    return _kernels.merge(a, b) if all(t.dim() == 2 for t in tensors) else None


def denormalize(
    y: Tensor, m: Moments, weight: Tensor | None, bias: Tensor | None, eps: float, extras: Extras
) -> Tensor:
    tensors = (y, *m, weight, bias)
    numbers = type(eps) is float and type(extras.weight_offset) is float
    plain = _accepts.plain(*tensors) and y is not None and not special()
    if plain and numbers and y.dim() <= _MOST_DIMENSIONS:
        try:
            if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
                return _statistics.denormalize(y, *m, weight, bias, eps, extras)
            return _kernels.denormalize(y, m, weight, bias, eps, extras)
        except _REFUSED:
            _checks.denormalize(y, m, weight, bias, eps, extras)
            raise
    _checks.denormalize(y, m, weight, bias, eps, extras)
    return _formulas.denormalize(y, m, weight, bias, eps, extras)
