"""The formulas in PyTorch's own operations, and nothing else.

They are right in every mode that PyTorch has, on every device, and in derivatives of every order,
because PyTorch knows all that of their parts. They compute in float64, and are the slow way: what
the kernels can do, they do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ._call import Call
from ._extras import Extras, layout, present
from ._moments import Moments


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64  # which has no float64


def _moments_of(rows: Tensor, there: Tensor | None) -> tuple[Moments, Tensor]:
    """Moments (N, C, 1) of rows (N, C, L), and the deviations from the mean, 0 where nothing is."""
    if there is None:
        count = torch.full_like(rows[..., :1].sum(-1, keepdim=True), rows.shape[-1]).detach()
        low = high = rows.detach()
    else:
        count = there.sum(-1, keepdim=True).to(rows.dtype).expand(*rows.shape[:2], 1)
        rows = torch.where(there, rows, 0.0)
        low = torch.where(there, rows.detach(), float("inf"))
        high = torch.where(there, rows.detach(), float("-inf"))
    divisor = count.clamp(min=1.0)
    # About a shift no digit is lost at a large mean, and within the row's range a constant row has
    # deviations of exactly 0. The derivatives of the shift would cancel.
    shift = rows.detach().sum(-1, keepdim=True) / divisor
    if rows.shape[-1] > 0:
        shift = shift.clamp(low.amin(-1, keepdim=True), high.amax(-1, keepdim=True))
    shift = torch.where(shift.isfinite(), shift, 0.0)
    deviation = rows - shift
    if there is not None:
        deviation = torch.where(there, deviation, 0.0)
    rest = deviation.sum(-1, keepdim=True) / divisor
    deviation = deviation - rest
    if there is not None:
        deviation = torch.where(there, deviation, 0.0)
    return Moments(count, shift + rest, (deviation * deviation).sum(-1, keepdim=True)), deviation


def _channels(parameter: Tensor, like: Tensor) -> Tensor:
    """(C,) or (N, C) as (…, C, 1)."""
    return parameter.to(like.dtype).unsqueeze(-1)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
}


def _refuse_nan(op: str, nan: Tensor) -> None:
    rows = nan.any(-1)
    if bool(rows.any()):
        n, c = rows.nonzero()[0].tolist()
        raise ValueError(f'[{op}] input has a NaN at n = {n}, c = {c}, and nan_policy is "raise"')


def _rows_there(op: str, input: Tensor, extras: Extras) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The input as rows in wide arithmetic, where values count, and where there are any at all."""
    in_range = present(op, input, extras)
    rows = layout(input, extras).to_rows(input)
    there = in_range
    if extras.nan_policy != "propagate":
        number = ~rows.detach().isnan()
        if extras.nan_policy == "omit":
            there = number if in_range is None else number & in_range
        else:
            _refuse_nan(op, ~number if in_range is None else ~number & in_range)
    return rows.to(_wide(input)), there, in_range


def moments(input: Tensor, extras: Extras, op: str = "moments") -> Moments:
    rows, there, _ = _rows_there(op, input, extras)
    m, _ = _moments_of(rows, there)
    return Moments(*(field.squeeze(-1) for field in m))


def normalize(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    extras: Extras,
    given: Moments | None = None,
    constant: bool = False,
) -> tuple[Tensor, Moments]:
    """y, and the moments (N, C) that it was normalised by.

    `given` moments are used instead of the input's own. `constant`: they are running statistics,
    by which any row is an ordinary one; by moments a row of fewer than 2 values, or of no variance
    with eps = 0, gives the bias.
    """
    rows, there, in_range = _rows_there("instance_norm", input, extras)
    if given is None:
        m, deviation = _moments_of(rows, there)
    else:
        m = Moments(*(field.to(rows.dtype).unsqueeze(-1) for field in given))
        deviation = rows - m.mean
        if there is not None:
            deviation = torch.where(there, deviation, 0.0)
    if constant:
        xhat = deviation / (m.m2 / m.count + eps).sqrt()
    else:
        var = m.m2 / m.count.clamp(min=1.0)
        is_bias = m.count < 2.0
        if eps == 0.0:
            is_bias = is_bias | (var == 0.0)
        # Both times: a derivative must not meet the infinite one of what is not taken.
        std = torch.where(is_bias, 1.0, var + eps).sqrt()
        xhat = torch.where(is_bias, 0.0, deviation) / std
    y = xhat
    if weight is not None:
        y = y * (_channels(weight, rows) + extras.weight_offset)
    if bias is not None:
        y = y + _channels(bias, rows)
    if extras.activation is not None:
        y = _ACTIVATIONS[extras.activation](y)
    if extras.nan_policy == "omit":
        y = torch.where(rows.detach().isnan(), float("nan"), y)
    if in_range is not None:
        y = torch.where(in_range, y, 0.0)
    y = layout(input, extras).from_rows(y.to(input.dtype))
    return y, Moments(*(field.squeeze(-1) for field in m))


def instance_norm(call: Call, extras: Extras, given: Moments | None) -> tuple[Tensor, Moments]:
    """y, and the moments (N, C) that it was normalised by; running statistics are updated."""
    input, mean, var, weight, bias, use_input_stats, momentum, eps = call
    if mean is None or var is None:
        return normalize(input, weight, bias, eps, extras, given)
    if not use_input_stats:
        constants = running_moments(input, extras, mean, var)
        return normalize(input, weight, bias, eps, extras, constants, constant=True)
    y, m = normalize(input, weight, bias, eps, extras, given)
    try:
        update_running(mean, var, m, momentum)
    except RuntimeError:  # under vmap: unbatched running statistics
        F.instance_norm(input, mean, var, None, None, True, momentum, eps)
        raise
    return y, m


def moments_backward(
    input: Tensor, m: Moments, grad_mean: Tensor | None, grad_m2: Tensor | None, extras: Extras
) -> Tensor:
    """Gradient of the input's own moments m: grad_mean / count + 2 * grad_m2 * (x - mean)."""
    rows, there, _ = _rows_there("instance_norm", input, extras)
    count, mean = (v.to(rows.dtype).unsqueeze(-1) for v in (m.count, m.mean))
    gradient = torch.zeros_like(rows)
    if grad_mean is not None:
        gradient = gradient + grad_mean.to(rows.dtype).unsqueeze(-1) / count.clamp(min=1.0)
    if grad_m2 is not None:
        gradient = gradient + 2.0 * grad_m2.to(rows.dtype).unsqueeze(-1) * (rows - mean)
    if there is not None:
        gradient = torch.where(there, gradient, 0.0)
    return layout(input, extras).from_rows(gradient.to(input.dtype))


def running_moments(input: Tensor, extras: Extras, mean: Tensor, var: Tensor) -> Moments:
    """Running statistics as the constant moments (N, C) of each instance of the input."""
    n, c, length = layout(input, extras).to_rows(input).shape
    wide = _wide(input)
    count = torch.full_like(mean, length, dtype=wide)
    return Moments(*(v.to(wide).expand(n, c) for v in (count, mean, var.to(wide) * length)))


@torch.no_grad()
def update_running(mean: Tensor, var: Tensor, m: Moments, momentum: float) -> None:
    """PyTorch's rule, in place: over the instances, the mean of momentum * new + (1 - momentum) * old.

    Instances of fewer than 2 values are left out, and a channel without others stays as it is.
    """
    m = m.detach()
    counted = m.count >= 2.0
    instances = counted.sum(0)
    for running, new in ((mean, m.mean), (var, m.m2 / (m.count - 1.0))):
        new = torch.where(counted, new, 0.0).sum(0) / instances
        old = running.to(new.dtype)
        updated = momentum * new + (1.0 - momentum) * old
        running.copy_(torch.where(instances > 0, updated, old))


def denormalize(
    y: Tensor,
    m: Moments,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    extras: Extras,
) -> Tensor:
    """(y - bias) / (weight + weight_offset) * sqrt(var + eps) + mean."""
    rows = layout(y, extras).to_rows(y).to(_wide(y))
    mean, var = (v.to(rows.dtype).unsqueeze(-1) for v in (m.mean, m.var()))
    if bias is not None:
        rows = rows - _channels(bias, rows)
    if weight is not None:
        rows = rows / (_channels(weight, rows) + extras.weight_offset)
    x = rows * (var + eps).sqrt() + mean
    return layout(y, extras).from_rows(x.to(y.dtype))
