"""What is wrong with a call that has extras, said as PyTorch says it, or as a ValueError."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import _accepts
from ._call import Call
from ._extras import Extras, layout
from ._moments import Moments


def _rows(op: str, shape: tuple[int, ...], moments: Moments | None) -> None:
    if moments is not None and tuple(moments.count.shape) != shape:
        name = "m" if op == "denormalize" else "moments"
        raise ValueError(
            f"[{op}] {name} must have shape (N, C) = {shape}, got {tuple(moments.count.shape)}"
        )


def _parameter(op: str, name: str, p: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(p.shape) not in (shape[1:], shape):
        raise ValueError(
            f"[{op}] {name} must have shape (C,) = ({shape[1]},) or (N, C) = {shape}, got "
            f"{tuple(p.shape)}"
        )


def as_pytorch(call: Call, extras: Extras, moments: Moments | None) -> None:
    """Raises what PyTorch would raise without the extras, and ValueError for what only they allow."""
    rows = layout(call.input, extras).to_rows(call.input)
    shape = tuple(rows.shape[:2])
    weight, bias = call.weight, call.bias
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.dim() == 2:
            _parameter("instance_norm", name, p, shape)
    _rows("instance_norm", shape, moments)
    if rows.numel() == 0:
        return
    # Of (N, C), PyTorch sees one instance: the dtype is what it has to say on.
    weight, bias = (p[0] if p is not None and p.dim() == 2 else p for p in (weight, bias))
    short = extras.selects() or moments is not None
    rest = call.use_input_stats, call.momentum, call.eps
    given = Call(rows, call.running_mean, call.running_var, weight, bias, *rest)
    if _accepts.numbers(given) and _accepts.call(given, call.use_input_stats and not short):
        return
    with torch.no_grad():
        mean, var = (
            r if r is None or r.requires_grad else r.clone()
            for r in (call.running_mean, call.running_var)
        )
        if short:
            torch.instance_norm(rows, weight, bias, mean, var, *rest, False)
        else:
            F.instance_norm(rows, mean, var, weight, bias, *rest)


def as_arrays(
    y: Tensor, m: Moments, weight: Tensor | None, bias: Tensor | None, extras: Extras
) -> None:
    """For denormalize by the formulas, what the kernels check."""
    shape = tuple(layout(y, extras).to_rows(y).shape[:2])
    _rows("denormalize", shape, m)
    for name, p in (("weight", weight), ("bias", bias)):
        if p is None:
            continue
        _parameter("denormalize", name, p, shape)
        if not _accepts.parameters(y.dtype, p, None, False):
            dtype, got = (str(t.dtype).removeprefix("torch.") for t in (y, p))
            either = "float32 or " if y.dtype in _accepts.HALVES else ""
            raise ValueError(f"[denormalize] {name} must be {either}{dtype} for a {dtype} y, got {got}")
