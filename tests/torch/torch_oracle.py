"""The textbook definition, a precision above, and what may differ from it.

Independent of the package: it shares no code with it, and takes no short cuts.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch import Tensor

# Behaves as the PyTorch does that requirements/frameworks.txt names, in what older ones did otherwise.
NEWEST = tuple(map(int, torch.__version__.split("+")[0].split(".")[:2])) >= (2, 13)

# Largest error of y relative to 1 + |y|, beside the rounding of a 16-bit result: the library's
# promise, which PyTorch's own operator does not keep at a large mean.
PROMISE = {torch.float16: 1e-6, torch.bfloat16: 1e-6, torch.float32: 1e-6, torch.float64: 8 * 2.0**-52}
# Half a unit in the last place, relative, and of the smallest numbers.
HALF_ULP = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 0.0, torch.float64: 0.0}
HALF_TINY = {torch.float16: 2.0**-25, torch.bfloat16: 2.0**-134, torch.float32: 0.0, torch.float64: 0.0}
FLOATS = list(PROMISE)

# Since some release after 2.10 PyTorch's layer has `bias`, and its operator leaves running statistics
# alone in eval and takes them in any dtype, as ours do with every release.
NEW = "bias" in inspect.signature(torch.nn.InstanceNorm1d.__init__).parameters
OTHER_RULES = "this PyTorch has no bias=, and other rules for running statistics"
newer = pytest.mark.skipif(not NEW, reason=OTHER_RULES)


def available(kinds: list[dict]) -> list[dict]:
    """Those arguments of the layer that the installed PyTorch's takes too."""
    return [kind for kind in kinds if NEW or "bias" not in kind]


def channels(p: Tensor | None, default: float, rank: int) -> Tensor | float:
    if p is None:
        return default
    p = p.double() if p.dim() == 2 else p.double()[None]
    return p.reshape(*p.shape, *[1] * (rank - 2))


def normalize(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Of (N, C, ...), differentiable, in float64. `statistics`: mean and variance, (C,) or (N, C), instead of the rows' own."""
    x = x.double()
    dims = tuple(range(2, x.dim()))
    if statistics is None:
        mean = x.mean(dims, keepdim=True)
        var = ((x - mean) ** 2).mean(dims, keepdim=True)
    else:
        mean, var = (channels(s, 0.0, x.dim()) for s in statistics)
    y = (x - mean) / torch.sqrt(var + eps)
    return y * channels(weight, 1.0, x.dim()) + channels(bias, 0.0, x.dim())


def exact(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The same in long double, rounded to float64: to compare float64 with."""

    def wide(t: Tensor) -> np.ndarray:
        return t.detach().double().resolve_neg().numpy().astype(np.longdouble)

    def per_channel(t: Tensor | None, default: float) -> np.ndarray | float:
        if t is None:
            return default
        return wide(t).reshape(*(t.shape if t.dim() == 2 else (1, *t.shape)), *[1] * (x.dim() - 2))

    rows, axes = wide(x), tuple(range(2, x.dim()))
    if statistics is None:
        mean = rows.mean(axes, keepdims=True)
        var = ((rows - mean) ** 2).mean(axes, keepdims=True)
    else:
        mean, var = (per_channel(s, 0.0) for s in statistics)
    y = (rows - mean) / np.sqrt(var + np.longdouble(eps))
    y = y * per_channel(weight, 1.0) + per_channel(bias, 0.0)
    return torch.from_numpy(y.astype(np.float64))


def running(x: Tensor, mean: Tensor, var: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """Running statistics after a training step."""
    rows = x.double().flatten(2)
    new = rows.mean(2).mean(0), rows.var(2, unbiased=True).mean(0)
    return tuple(momentum * a + (1 - momentum) * b.double() for a, b in zip(new, (mean, var)))


def assert_close(y: Tensor, expected: Tensor, unit: float = 1.0) -> None:
    """`unit`: what an error is relative to beside the value itself."""
    assert y.shape == expected.shape
    dtype, y, expected = y.dtype, y.detach().double(), expected.detach()
    bound = PROMISE[dtype] * (unit + expected.abs()) + HALF_ULP[dtype] * expected.abs() + HALF_TINY[dtype]
    wrong = ~((y - expected).abs() <= bound) & ~(y.isnan() & expected.isnan())
    assert not wrong.any(), f"off by {(y - expected).abs()[wrong].max():.3g}"


def assert_gradient(g: Tensor, expected: Tensor, factor: float = 2e-6) -> None:
    """Within `factor` of the largest element: 2e-6 is the promise for float32."""
    assert g.shape == expected.shape
    if g.dtype == torch.float64:
        factor = 1e-12
    rounding = HALF_ULP[g.dtype] * expected.abs()
    bound = factor * expected.abs().max() + rounding + HALF_TINY[g.dtype]
    assert ((g.double() - expected).abs() <= bound).all(), (g.double() - expected).abs().max()


def leaf(*shape: int, dtype: torch.dtype = torch.float64, mean: float = 0.0) -> Tensor:
    return (torch.randn(*shape, dtype=torch.float64) + mean).to(dtype).requires_grad_()
