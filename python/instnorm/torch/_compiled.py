"""Under torch.compile: the kernels as operators of PyTorch.

Running statistics are updated outside of them, by PyTorch's own operations, from the moments that
come out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import (
    _formulas,
    _operators,  # noqa: F401  # which torch.ops.instnorm has from there
)
from ._call import Call
from ._extras import Extras
from ._modes import differentiating_forward, exporting
from ._moments import Moments


def possible() -> bool:
    """Can the operators be used here? They carry no transforms or tangents, and nobody else has them."""
    return not exporting() and not differentiating_forward()


def normalize_and_moments(
    call: Call, extras: Extras, given: Moments | None
) -> tuple[Tensor, Moments]:
    input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps = call
    running = (None, None) if use_input_stats else (running_mean, running_var)
    y, *rest = torch.ops.instnorm.normalize(
        input, weight, bias, *running, eps, *extras, *(given or (None, None, None))
    )
    m = Moments(*rest)
    if use_input_stats and running_mean is not None and running_var is not None:
        _formulas.update_running(running_mean, running_var, m, momentum)
    return y, m
