"""Gradients of instance_norm by the kernels.

What is saved is the input, not the result, so that the result may be changed in place afterwards.
First derivatives come from the kernels of the backward pass, second ones from those of the double backward
where they take the extras. Beyond that derivatives are taken through the formulas, so that every order is
right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._moments import Moments as ArrayMoments
from . import _formulas, _kernels
from ._call import Call
from ._extras import NONE, Extras
from ._modes import special
from ._moments import Moments


def vjp(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor | None],
    grad_outputs: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...]:
    """Gradients of `function` at `inputs`: differentiable again where grad mode is on."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Inputs of their own, so that nothing flows to one by way of another.
        own = [
            t
            if t is None or not t.requires_grad
            else t.view_as(t)
            if again
            else t.detach().requires_grad_()
            for t in inputs
        ]
        wanted = [t for t in own if t is not None and t.requires_grad]
        pairs = [
            (y, g)
            for y, g in zip(function(*own), grad_outputs)
            if g is not None and y.requires_grad
        ]
        if not pairs:
            return (None,) * len(own)
        outputs, grads = zip(*pairs)
        found = iter(
            torch.autograd.grad(outputs, wanted, grads, create_graph=again, allow_unused=True)
        )
    return tuple(None if t is None or not t.requires_grad else next(found) for t in own)


class InstanceNorm(torch.autograd.Function):
    """Without extras: as little as possible around the kernels."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        use_input_stats: bool,
        momentum: float,
        eps: float,
    ) -> Tensor:
        y, ctx.moments = _kernels.normalize_tensor_saving(
            input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
        )
        if running_mean is not None and use_input_stats:
            _kernels.changed(running_mean, running_var)
        ctx.save_for_backward(input, weight)
        # No gradient depends on its values, so they may change.
        ctx.rest = bias, eps, use_input_stats
        return y

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        bias, eps, use_input_stats = ctx.rest
        needs = ctx.needs_input_grad
        if not special():
            backward = apply_backward if torch.is_grad_enabled() else _kernels.backward_of_tensor
            try:
                gx, gw, gb = backward(
                    grad_output, input, ctx.moments, weight, bias, eps, use_input_stats,
                    needs[0], needs[3], needs[4],
                )
                return gx, None, None, gw, gb, None, None, None
            except (TypeError, ValueError):
                pass  # an exotic grad_output: the formulas take all
        constants = _constants(ctx.moments, use_input_stats)
        gx, gw, gb = _gradients((input, weight, bias), grad_output, eps, constants)
        return gx, None, None, gw, gb, None, None, None


def _constants(moments: object, use_input_stats: bool) -> Moments | None:
    """Running statistics, as the formulas take them."""
    return None if use_input_stats else _kernels.tensors(_kernels.saved_moments(moments))


def _gradients(
    inputs: Sequence[Tensor | None], grad_output: Tensor, eps: float, constants: Moments | None
) -> tuple[Tensor | None, ...]:
    """Of input, weight and bias by the formulas."""

    def formula(x: Tensor, w: Tensor | None, b: Tensor | None) -> tuple[Tensor]:
        return (_formulas.normalize(x, w, b, eps, NONE, constants, constants is not None)[0],)

    return vjp(formula, inputs, (grad_output,))


class InstanceNormGradient(torch.autograd.Function):
    """The backward of that as a function with gradients of its own: second derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        grad_output: Tensor,
        input: Tensor,
        moments: object,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        use_input_stats: bool,
        needs_input: bool,
        needs_weight: bool,
        needs_bias: bool,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        ctx.save_for_backward(grad_output, input, weight)
        ctx.rest = moments, bias, eps, use_input_stats
        ctx.set_materialize_grads(False)
        return _kernels.backward_of_tensor(
            grad_output, input, moments, weight, bias, eps, use_input_stats,
            needs_input, needs_weight, needs_bias,
        )

    @staticmethod
    def backward(
        ctx: Any, to_input: Tensor | None, to_weight: Tensor | None, to_bias: Tensor | None
    ) -> Any:
        grad_output, input, weight = ctx.saved_tensors
        moments, bias, eps, use_input_stats = ctx.rest
        cotangents = to_input, to_weight, to_bias
        if all(t is None for t in cotangents):
            return (None,) * 10
        needs = ctx.needs_input_grad
        found: Sequence[Tensor | None] | None = None
        if not torch.is_grad_enabled() and not special():
            try:
                found = _kernels.double_backward(
                    cotangents, grad_output, input, moments, weight, eps, not use_input_stats,
                    (needs[0], needs[1], needs[3]),
                )
            except (TypeError, ValueError):
                pass  # exotic cotangents
        if found is None:
            constants = _constants(moments, use_input_stats)

            def first(g: Tensor, *inputs: Tensor | None) -> tuple[Tensor, ...]:
                grads = _gradients(inputs, g, eps, constants)
                return tuple(input.new_empty(0) if t is None else t for t in grads)

            found = vjp(first, (grad_output, input, weight, bias), cotangents)
        gg, gx, gw, *_ = found
        return gg, gx, None, gw, None, None, None, None, None, None


# What Function.apply comes to where no transform is active, which their callers have made sure of.
apply_plain: Callable[..., Tensor] = super(torch.autograd.Function, InstanceNorm).apply
apply_backward: Callable[..., tuple[Tensor | None, ...]] = super(
    torch.autograd.Function, InstanceNormGradient
).apply


class InstanceNormWithExtras(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        use_input_stats: bool,
        momentum: float,
        eps: float,
        extras: Extras,
        given: Moments | None,
        return_moments: bool,
    ) -> tuple[Tensor, ...]:
        call = Call(
            input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
        )
        y, ctx.moments = _kernels.normalize_and_moments(call, extras, given)
        ctx.save_for_backward(input, weight, bias, extras.lengths, extras.mask)
        ctx.rest = (eps, extras, not use_input_stats, given is not None)
        if not return_moments:
            return (y,)
        ctx.set_materialize_grads(False)
        moments = _kernels.tensors(ctx.moments)
        ctx.mark_non_differentiable(moments.count)
        return y, *moments

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *grad_moments: Tensor | None) -> Any:
        input, weight, bias, lengths, mask = ctx.saved_tensors
        eps, extras, running, given = ctx.rest
        if lengths is not None or mask is not None:
            extras = extras._replace(lengths=lengths, mask=mask)
        grads: Sequence[Tensor | None] | None = None
        if not special():
            try:
                if not torch.is_grad_enabled():
                    grads = _by_kernels(ctx, input, weight, bias, extras, grad_output, *grad_moments)
                elif grad_output is not None and all(g is None for g in grad_moments):
                    grads = apply_gradient_with_extras(
                        grad_output, input, weight, bias, ctx.moments, eps, extras, running, given
                    )
            except (TypeError, ValueError):
                pass  # an exotic grad_output: the formulas take all
        if grads is None:
            constants = _kernels.tensors(ctx.moments) if running or given else None

            def formula(x: Tensor, w: Tensor | None, b: Tensor | None) -> tuple[Tensor, ...]:
                y, m = _formulas.normalize(x, w, b, eps, extras, constants, running)
                return y, *m

            grads = vjp(formula, (input, weight, bias), (grad_output, *grad_moments))
        gx, gw, gb = grads
        return gx, None, None, gw, gb, *[None] * 6


class InstanceNormWithExtrasGradient(torch.autograd.Function):
    """The backward of that as a function with gradients of its own, but those of moments."""

    @staticmethod
    def forward(
        ctx: Any,
        grad_output: Tensor,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        moments: ArrayMoments,
        eps: float,
        extras: Extras,
        running: bool,
        given: bool,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        ctx.save_for_backward(grad_output, input, weight, bias, extras.lengths, extras.mask)
        ctx.rest = moments, eps, extras._replace(lengths=None, mask=None), running, given
        ctx.set_materialize_grads(False)
        needs = True, weight is not None and weight.requires_grad, bias is not None and bias.requires_grad
        return _kernels.backward(
            grad_output, input, moments, weight, bias, eps, running or given, extras, needs
        )

    @staticmethod
    def backward(
        ctx: Any, to_input: Tensor | None, to_weight: Tensor | None, to_bias: Tensor | None
    ) -> Any:
        cotangents = to_input, to_weight, to_bias
        grad_output, input, weight, bias, lengths, mask = ctx.saved_tensors
        moments, eps, extras, running, given = ctx.rest
        extras = extras._replace(lengths=lengths, mask=mask)
        if all(t is None for t in cotangents):
            return (None,) * 9
        needs = ctx.needs_input_grad
        if _kernels.double_backward_takes(extras) and not (torch.is_grad_enabled() or special()):
            try:
                gg, gx, gw = _kernels.double_backward(
                    cotangents, grad_output, input, moments, weight, eps, running or given,
                    needs[:3], extras,
                )
                return gg, gx, gw, *[None] * 6
            except (TypeError, ValueError):
                pass  # exotic cotangents
        constants = _kernels.tensors(moments) if running or given else None

        def first(g: Tensor, *inputs: Tensor | None) -> tuple[Tensor, ...]:
            def y(x: Tensor, w: Tensor | None, b: Tensor | None) -> tuple[Tensor]:
                return (_formulas.normalize(x, w, b, eps, extras, constants, running)[0],)

            return tuple(input.new_empty(0) if t is None else t for t in vjp(y, inputs, (g,)))

        return *vjp(first, (grad_output, input, weight, bias), cotangents), *[None] * 5


apply_with_extras: Callable[..., tuple[Tensor, ...]] = InstanceNormWithExtras.apply
apply_gradient_with_extras: Callable[..., tuple[Tensor | None, ...]] = (
    InstanceNormWithExtrasGradient.apply
)


def _by_kernels(
    ctx: Any,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    extras: Extras,
    grad_output: Tensor | None,
    grad_count: Tensor | None = None,
    grad_mean: Tensor | None = None,
    grad_m2: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    eps, _, running, given = ctx.rest
    gx = gw = gb = None
    if grad_output is not None:
        needs = ctx.needs_input_grad
        gx, gw, gb = _kernels.backward(
            grad_output, input, ctx.moments, weight, bias, eps, running or given, extras,
            (needs[0], needs[3], needs[4]),
        )
    if ctx.needs_input_grad[0] and not (running or given or (grad_mean is None and grad_m2 is None)):
        through = _kernels.moments_backward(
            input, _kernels.tensors(ctx.moments), grad_mean, grad_m2, extras
        )
        gx = through if gx is None else gx + through
    return gx, gw, gb
