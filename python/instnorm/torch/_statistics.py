"""Gradients of moments, denormalize and merge by the kernels.

Each is, along a row, one of the passes that there are; what is left is algebra of (N, C). Second
derivatives are taken through the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _formulas, _kernels
from ._autograd import vjp
from ._extras import Extras
from ._modes import special
from ._moments import Moments


def _by_kernels() -> bool:
    return not (torch.is_grad_enabled() or special())


class _RowMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, extras: Extras) -> tuple[Tensor, Tensor, Tensor]:
        m = _kernels.moments(input, extras)
        ctx.save_for_backward(input, *m, extras.lengths, extras.mask)
        ctx.extras = extras._replace(lengths=None, mask=None)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(m.count)
        return m

    @staticmethod
    def backward(ctx: Any, _: None, grad_mean: Tensor | None, grad_m2: Tensor | None) -> Any:
        input, count, mean, m2, lengths, mask = ctx.saved_tensors
        extras = ctx.extras._replace(lengths=lengths, mask=mask)
        if grad_mean is None and grad_m2 is None:
            return None, None
        if _by_kernels():
            m = Moments(count, mean, m2)
            try:
                return _kernels.moments_backward(input, m, grad_mean, grad_m2, extras), None
            except (TypeError, ValueError):
                pass  # exotic gradients: the formulas take all

        def formula(x: Tensor) -> Moments:
            return _formulas.moments(x, extras)

        return *vjp(formula, (input,), (None, grad_mean, grad_m2)), None


class _Denormalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        count: Tensor,
        mean: Tensor,
        m2: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        extras: Extras,
    ) -> Tensor:
        ctx.save_for_backward(y, count, mean, m2, weight, bias)
        ctx.rest = eps, extras
        return _kernels.denormalize(y, Moments(count, mean, m2), weight, bias, eps, extras)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        y, count, mean, m2, weight, bias = ctx.saved_tensors
        eps, extras = ctx.rest
        m = Moments(count, mean, m2)
        if _by_kernels():
            try:
                return *_denormalize_backward(grad, y, m, weight, bias, eps, extras, ctx.needs_input_grad), None, None
            except (TypeError, ValueError):
                pass  # an exotic gradient: the formulas take all

        def formula(
            y: Tensor, c: Tensor, mean: Tensor, m2: Tensor, w: Tensor | None, b: Tensor | None
        ) -> tuple[Tensor]:
            return (_formulas.denormalize(y, Moments(c, mean, m2), w, b, eps, extras),)

        return *vjp(formula, (y, *m, weight, bias), (grad,)), None, None


def _denormalize_backward(
    grad: Tensor,
    y: Tensor,
    m: Moments,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    extras: Extras,
    needs: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """With s = std / weight, x = (y - bias) * s + mean: of y grad * s, the same pass."""
    of_y = None
    if needs[0]:
        centred = m._replace(mean=torch.zeros_like(m.mean))
        of_y = _kernels.denormalize(grad, centred, weight, None, eps, extras)
    if not any(needs[1:6]):
        return (of_y, *[None] * 5)
    # The sums of grad and of grad * (y - bias) are those of a backward at the moments (bias, variance 1).
    one = torch.ones_like(m.mean)
    centre = torch.zeros_like(one) if bias is None else bias.detach().double().expand_as(one)
    parameter = torch.ones_like(one, dtype=torch.float64 if y.dtype == torch.float64 else torch.float32)
    layout = Extras(data_format=extras.data_format)
    _, product, total = _kernels.backward(
        grad, y, Moments(2.0 * one, centre, 2.0 * one), parameter, parameter, 0.0, False, layout,
        (False, True, True),
    )
    assert product is not None and total is not None
    product, total = product.double(), total.double()

    def of_rows(
        count: Tensor, mean: Tensor, m2: Tensor, w: Tensor | None, b: Tensor | None
    ) -> tuple[Tensor]:
        """The sum of grad * x over each row."""
        slope = (Moments(count, mean, m2).var() + eps).sqrt()
        if w is not None:
            slope = slope / (w.double() + extras.weight_offset)
        about = product if b is None else product - total * (b.double() - centre)
        return (about * slope + total * mean,)

    return of_y, *vjp(of_rows, (*m, weight, bias), (one,))


_moments: Callable[..., tuple[Tensor, Tensor, Tensor]] = _RowMoments.apply
denormalize: Callable[..., Tensor] = _Denormalize.apply


def moments(input: Tensor, extras: Extras) -> Moments:
    return Moments(*_moments(input, extras))
