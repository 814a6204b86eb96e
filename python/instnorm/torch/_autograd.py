"""Gradients of instance_norm by the kernels.

What is saved is the input, not the result, so that the result may be changed in place afterwards.
First derivatives come from the kernel of the backward pass. Where they are to be differentiated
themselves, they are taken through the formulas, so that every order is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

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


class Plain(torch.autograd.Function):
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
        if not torch.is_grad_enabled() and not special():
            wanted = ctx.needs_input_grad
            try:
                gx, gw, gb = _kernels.backward_of_tensor(
                    grad_output, input, ctx.moments, weight, bias, eps, use_input_stats,
                    wanted[0], wanted[3], wanted[4],
                )
                return gx, None, None, gw, gb, None, None, None
            except (TypeError, ValueError):
                pass  # an exotic grad_output: the formulas take all
        constants = None
        if not use_input_stats:
            constants = _kernels.tensors(_kernels.saved_moments(ctx.moments))

        def formula(x: Tensor, w: Tensor | None, b: Tensor | None) -> tuple[Tensor]:
            return (_formulas.normalize(x, w, b, eps, NONE, constants, not use_input_stats)[0],)

        gx, gw, gb = vjp(formula, (input, weight, bias), (grad_output,))
        return gx, None, None, gw, gb, None, None, None


# What Function.apply comes to where no transform is active, which its caller has made sure of.
apply_plain: Callable[..., Tensor] = super(torch.autograd.Function, Plain).apply


class WithExtras(torch.autograd.Function):
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
        if not torch.is_grad_enabled() and not special():
            try:
                grads = _by_kernels(ctx, input, weight, bias, extras, grad_output, *grad_moments)
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


apply_with_extras: Callable[..., tuple[Tensor, ...]] = WithExtras.apply


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
        m = ctx.moments
        gx, gw, gb = _kernels.backward(
            grad_output, input, m, weight, bias, eps, running or given, extras
        )
    if not (running or given or (grad_mean is None and grad_m2 is None)):
        through = _formulas.moments_backward(
            input, _kernels.tensors(ctx.moments), grad_mean, grad_m2, extras
        )
        gx = through if gx is None else gx + through
    return gx, gw, gb
