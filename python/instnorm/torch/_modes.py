"""What PyTorch is doing around a call, as far as it decides who computes."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

_transforms_active = torch._C._are_functorch_transforms_active
_dispatch_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state
_is_exporting: Any = getattr(torch.compiler, "is_exporting", None)


def differentiating_forward() -> bool:
    """Inside torch.func.grad, vmap, jvp, ..., or a level of forward-mode derivatives?"""
    return bool(_transforms_active()) or forward_ad._current_level >= 0


def recorded() -> bool:
    """Does somebody record or replace PyTorch's operators: fake tensors, tracers, exporters?"""
    if torch.compiler.is_compiling():
        return exporting()
    return _dispatch_modes() > 0 or _tracing() is not None


def in_special_mode() -> bool:
    """Is either so? Then a tensor may be more than its memory, and kernels are out of place."""
    return bool(
        _transforms_active() or _dispatch_modes() or _tracing() or forward_ad._current_level >= 0
    )


def special() -> bool:
    """The same, or compiling."""
    return torch.compiler.is_compiling() or in_special_mode()


def readable(tensor: torch.Tensor) -> bool:
    """May its values be looked at: on the CPU, by nobody mapped, traced or compiled?"""
    return tensor.device.type == "cpu" and not (
        torch.compiler.is_compiling() or _transforms_active() or _dispatch_modes() or _tracing()
    )


def exporting() -> bool:
    """Inside torch.export?"""
    if _is_exporting is not None:
        return bool(_is_exporting())
    return torch.compiler._is_compiling_flag  # before 2.7 set by torch.export alone
