"""Which calls PyTorch's instance_norm accepts, and we compute.

What is not among them goes to PyTorch, which raises its own error or does what it does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._call import Call

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HALVES = (torch.float16, torch.bfloat16)
_PLAIN = (Tensor, torch.nn.Parameter)


def halves(
    dtype: torch.dtype, weight: Tensor | None, bias: Tensor | None, tracked: bool
) -> bool:
    """For a 16-bit input: are these the dtypes that PyTorch takes? Kernels take more."""
    if weight is not None:
        return bias is None or bias.dtype == weight.dtype
    return bias is None or bias.dtype == dtype or not tracked


def parameters(dtype: torch.dtype, weight: Tensor | None, bias: Tensor | None, tracked: bool) -> bool:
    possible = (dtype, torch.float32) if dtype in HALVES else (dtype,)
    return dtype in _FLOATS and all(p is None or p.dtype in possible for p in (weight, bias)) and (
        dtype not in HALVES or halves(dtype, weight, bias, tracked)
    )


def numbers(call: Call) -> bool:
    return (
        type(call.use_input_stats) is bool
        and type(call.momentum) is float
        and type(call.eps) is float
    )


def per_instance(*parameters: Tensor | None) -> bool:
    """Is one of them (N, C)? PyTorch has no such thing."""
    return any(isinstance(p, Tensor) and p.dim() == 2 and not p.is_nested for p in parameters)


def buffer(running: Tensor, written: bool) -> bool:
    """Has it no gradient, and may it be written? An inference tensor may not, outside of its mode."""
    if running.requires_grad and torch.is_grad_enabled():
        return False
    return not written or not running.is_inference() or torch.is_inference_mode_enabled()


def variance(
    input: Tensor, running_mean: Tensor, running_var: Tensor | None, weight: Tensor | None
) -> bool:
    """PyTorch converts both as the mean needs it, or neither."""
    return (
        running_var is None
        or running_mean.dtype == running_var.dtype
        or running_mean.dtype != (input if weight is None else weight).dtype
    )


def call(given: Call, needs_variance: bool) -> bool:
    """For tensors of any kind, by what is known without their values."""
    input, running_mean, running_var, weight, bias = given.tensors()
    if input is None or input.dim() < 3 or input.numel() == 0 or input.dtype not in _FLOATS:
        return False
    if needs_variance and input.shape[2:].numel() == 1:
        return False
    if input.layout != torch.strided or (running_mean is None) != (running_var is None):
        return False
    if running_mean is None and not given.use_input_stats:
        return False
    channels = input.shape[1]
    for t in (running_mean, running_var, weight, bias):
        if t is not None and (t.dim() != 1 or t.shape[0] != channels or t.device != input.device):
            return False
    for t in (running_mean, running_var):
        if t is not None and (t.requires_grad or t.dtype not in _FLOATS):
            return False
    if running_mean is not None and not variance(input, running_mean, running_var, weight):
        return False
    return parameters(input.dtype, weight, bias, running_mean is not None)


def plain(*tensors: Tensor | None) -> bool:
    """Are they ordinary tensors on the CPU, of no class of their own?"""
    return all(t is None or (type(t) in _PLAIN and t.device.type == "cpu") for t in tensors)
