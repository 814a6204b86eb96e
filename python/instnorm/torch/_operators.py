"""The kernels as two operators of PyTorch, instnorm::normalize and instnorm::normalize_backward.

Their schemas, kernels, shapes, and derivatives. They are functional: operators that write to their
arguments have no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _formulas, _kernels
from ._autograd import vjp
from ._call import Call
from ._extras import Extras
from ._moments import Moments

_OPTIONS = (
    "Tensor? lengths, Tensor? mask, str nan_policy, str data_format, float weight_offset, "
    "str? activation"
)
_library: Any = torch.library.Library("instnorm", "DEF")  # type: ignore[no-untyped-call]
_library.define(
    "normalize(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, "
    f"Tensor? running_var, float eps, {_OPTIONS}, Tensor? count, Tensor? mean, Tensor? m2) "
    "-> (Tensor y, Tensor count, Tensor mean, Tensor m2)"
)
_library.define(
    "normalize_backward(Tensor grad_output, Tensor input, Tensor? weight, Tensor? bias, Tensor count, "
    f"Tensor mean, Tensor m2, float eps, bool constant_moments, {_OPTIONS}) "
    "-> (Tensor grad_input, Tensor grad_weight, Tensor grad_bias)"
)


def _own(given: Any) -> Tensor:
    """Operators must not return what they were given."""
    result: Tensor = given.clone()
    return result


@torch.library.impl(_library, "normalize", "CPU")
def _normalize(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    eps: float,
    lengths: Tensor | None,
    mask: Tensor | None,
    nan_policy: str,
    data_format: str,
    weight_offset: float,
    activation: str | None,
    count: Tensor | None,
    mean: Tensor | None,
    m2: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    extras = Extras(lengths, mask, nan_policy, data_format, weight_offset, activation)
    given = None
    if count is not None and mean is not None and m2 is not None:
        given = Moments(count, mean, m2)
    own = running_mean is None
    call = Call(input, running_mean, running_var, weight, bias, own, 0.0, eps)
    y, m = _kernels.normalize_and_moments(call, extras, given)
    moments = _kernels.tensors(m) if given is None else Moments(*(_own(t) for t in given))
    return y, *moments


@torch.library.impl(_library, "normalize_backward", "CPU")
def _normalize_backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    count: Tensor,
    mean: Tensor,
    m2: Tensor,
    eps: float,
    constant_moments: bool,
    lengths: Tensor | None,
    mask: Tensor | None,
    nan_policy: str,
    data_format: str,
    weight_offset: float,
    activation: str | None,
) -> tuple[Tensor, Tensor, Tensor]:
    extras = Extras(lengths, mask, nan_policy, data_format, weight_offset, activation)
    gx, gw, gb = _kernels.backward(
        grad_output, input, Moments(count, mean, m2), weight, bias, eps, constant_moments, extras
    )
    return _none(input, gx), _none(input, gw), _none(input, gb)


def _none(like: Tensor, gradient: Tensor | None) -> Tensor:
    """An operator returns tensors: an empty one for a gradient that is not there."""
    return like.new_empty(0) if gradient is None else gradient


def _fake_normalize(input: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    y = torch.empty_like(input, memory_format=torch.contiguous_format)
    n = input.shape[0] if input.dim() > 2 else 1
    c = input.shape[-1] if arguments[8] == "NLC" else input.shape[1 if input.dim() > 2 else 0]
    count, mean, m2 = (input.new_empty(n, c, dtype=torch.float64) for _ in range(3))
    return y, count, mean, m2


def _fake_backward(
    grad_output: Tensor, input: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    gx = torch.empty_like(input, memory_format=torch.contiguous_format)
    gw, gb = (
        input.new_empty(0) if p is None else torch.empty_like(p, memory_format=torch.contiguous_format)
        for p in (weight, bias)
    )
    return gx, gw, gb


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    input, weight, bias, running_mean, _, eps, lengths, mask, *rest = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(input, weight, bias, lengths, mask, *output[1:])
    running, given = running_mean is not None, inputs[-1] is not None
    ctx.rest = (eps, rest[:4], running, given)


def _differentiate(ctx: Any, grad_output: Tensor | None, *grad_moments: Tensor | None) -> Any:
    input, weight, bias, lengths, mask, *moments = ctx.saved_tensors
    eps, options, running, given = ctx.rest
    extras = Extras(lengths, mask, *options)
    m = Moments(*moments)
    gx = gw = gb = None
    if grad_output is not None:
        gx, gw, gb = torch.ops.instnorm.normalize_backward(
            grad_output, input, weight, bias, *m, eps, running or given, *extras
        )
    _, grad_mean, grad_m2 = grad_moments
    if not (running or given or (grad_mean is None and grad_m2 is None)):
        through = _formulas.moments_backward(input, m, grad_mean, grad_m2, extras)
        gx = through if gx is None else gx + through
    return (
        gx,
        None if weight is None else gw,
        None if bias is None else gb,
        *([None] * 12),
    )


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:7], *inputs[9:11])
    ctx.rest = (inputs[7], inputs[8], inputs[11:])


def _differentiate_again(ctx: Any, *grads: Tensor) -> Any:
    grad_output, input, weight, bias, count, mean, m2, lengths, mask = ctx.saved_tensors
    eps, constant, options = ctx.rest
    extras = Extras(lengths, mask, *options)
    given = Moments(count, mean, m2) if constant else None

    def first(g: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        def y(x: Tensor, w: Tensor | None, b: Tensor | None) -> tuple[Tensor]:
            return (_formulas.normalize(x, w, b, eps, extras, given, constant)[0],)

        return tuple(_none(input, t) for t in vjp(y, inputs, (g,)))

    return (*vjp(first, (grad_output, input, weight, bias), grads), *([None] * 11))


torch.library.register_fake("instnorm::normalize", _fake_normalize)
torch.library.register_fake("instnorm::normalize_backward", _fake_backward)
torch.library.register_autograd("instnorm::normalize", _differentiate, setup_context=_save)
torch.library.register_autograd(
    "instnorm::normalize_backward", _differentiate_again, setup_context=_save_backward
)
