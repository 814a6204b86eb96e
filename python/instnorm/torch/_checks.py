"""What is wrong with a call that has extras, said as PyTorch says it, or as a ValueError."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import _accepts
from ._call import Call
from ._extras import Extras, as_float, check, is_dense, layout, number, tensor
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


def is_moments(op: str, name: str, value: object) -> None:
    if not isinstance(value, Moments):
        raise TypeError(
            f"[{op}] {name} must be an instnorm.torch.Moments, got {type(value).__name__}"
        )


def moments(op: str, name: str, m: Moments, input: Tensor) -> None:
    is_moments(op, name, m)
    for field in m:
        tensor(op, name, field, input)
        if field.dtype not in (torch.float64, torch.float32):
            dtype = str(field.dtype).removeprefix("torch.")
            raise ValueError(f"[{op}] {name} must be float64, got {dtype}")
        if field.shape != m.count.shape:
            raise ValueError(
                f"[{op}] {name} must be of one shape, got {tuple(m.count.shape)} and "
                f"{tuple(field.shape)}"
            )


def kinds(call: Call, given: Moments | None) -> Call:
    """The call, with its numbers as floats.

    Raises what PyTorch would for what is no tensor, no number or none that it computes with.
    """
    input = call.input
    fits = input is not None and all(
        t is None or (isinstance(t, Tensor) and is_dense(t) and t.device == input.device)
        for t in call.tensors()
    )
    if fits and not torch.compiler.is_compiling() and not _accepts.numbers(call):
        eps, momentum = as_float(call.eps), as_float(call.momentum)
        fits = eps is not None and momentum is not None and type(call.use_input_stats) is bool
        if eps is not None and momentum is not None:
            call = call._replace(eps=eps, momentum=momentum)
    if not fits:
        with torch.no_grad():
            mean, var = (
                t.clone() if isinstance(t, Tensor) else t
                for t in (call.running_mean, call.running_var)
            )
            F.instance_norm(*call._replace(running_mean=mean, running_var=var))
    if given is not None:
        moments("instance_norm", "moments", given, input)
    return call


def as_pytorch(call: Call, extras: Extras, moments: Moments | None) -> None:
    """Raises what PyTorch would raise without the extras, and ValueError for what only they allow."""
    rows = layout(call.input, extras).to_rows(call.input)
    shape = tuple(rows.shape[:2])
    weight, bias = call.weight, call.bias
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and _accepts.per_instance(p):
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


def denormalize(
    y: Tensor,
    m: Moments,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    extras: Extras,
) -> None:
    """What the kernels check, and of what kind the arguments are."""
    number("denormalize", "eps", eps)
    check("denormalize", y, extras)
    moments("denormalize", "m", m, y)
    shape = tuple(layout(y, extras).to_rows(y).shape[:2])
    _rows("denormalize", shape, m)
    for name, p in (("weight", weight), ("bias", bias)):
        if p is None:
            continue
        tensor("denormalize", name, p, y)
        _parameter("denormalize", name, p, shape)
        if not _accepts.parameters(y.dtype, p, None, False):
            dtype, got = (str(t.dtype).removeprefix("torch.") for t in (y, p))
            either = "float32 or " if y.dtype in _accepts.HALVES else ""
            raise ValueError(f"[denormalize] {name} must be {either}{dtype} for a {dtype} y, got {got}")
