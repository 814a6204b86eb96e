"""Beside PyTorch's own operator, by the largest error against the definition a precision above.

Where PyTorch loses digits, ours is never further off. Where it loses none, its sums in float64 may leave it
nearer by roundings: there ours keeps the promise, and is equal to PyTorch's within both their errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import torch_oracle as oracle
from instnorm.torch import functional as ours

# One short of, at and beyond what a vector, a lane's sum and a block hold.
LENGTHS = [2, 3, 8, 17, 40, 100, 257, 1000, 4097, 20000]


def normal(mean: float, std: float = 1.0) -> Callable[[int, int], Tensor]:
    return lambda n, length: torch.randn(n, 3, length) * std + mean


def of_many_sizes(row: Callable[[int], Tensor]) -> Callable[[int, int], Tensor]:
    """The same row times factors from 1 to 2."""
    return lambda n, length: row(length) * (1 + torch.rand(n, 3, 1))


def beginning(share: float, value: float, rest: Callable[[int, int], Tensor]) -> Callable[[int, int], Tensor]:
    """The first `share` of a row, one value at least, near `value`."""

    def make(n: int, length: int) -> Tensor:
        x = rest(n, length)
        first = max(1, int(share * length))
        x[..., :first] = value + torch.randn(n, 3, first) * (share > 0)
        return x

    return make


def one_frame_off(length: int) -> Tensor:
    x = torch.full((length,), -15.94)
    x[length // 3] = 2.0
    return x


INPUTS: dict[str, Callable[[int, int], Tensor]] = {
    **{f"N({mean:g}, 1)": normal(mean) for mean in (0, 1, -30, 100, 1e4, 1e6)},
    **{f"N(0, {std:g})": normal(0, std) for std in (1e-3, 1e3, 1e20)},
    **{f"N({mean:g}, {std:g})": normal(mean, std) for mean, std in ((0.1, 1e-3), (1e5, 1e3))},
    "uniform": lambda n, length: torch.rand(n, 3, length),
    "log-normal": lambda n, length: torch.randn(n, 3, length).exp(),
    "heavy tails": lambda n, length: torch.randn(n, 3, length) / torch.randn(n, 3, length),
    "random walk": lambda n, length: torch.randn(n, 3, length).cumsum(2),
    "constant": of_many_sizes(lambda length: torch.full((length,), 3.3)),
    "constant 1e6": of_many_sizes(lambda length: torch.full((length,), 1e6 + 0.1)),
    "ramp": of_many_sizes(lambda length: torch.linspace(0, 1e6, length)),
    "sine": of_many_sizes(lambda length: torch.sin(0.1 * torch.arange(length))),
    "checkerboard": of_many_sizes(lambda length: 512.0 * (1 - 2 * (torch.arange(length) % 2))),
    "log-mel floor": of_many_sizes(one_frame_off),
    "first 1e6": beginning(0.0, 1e6, normal(0)),
    "half 1e6": beginning(0.5, 1e6, normal(0)),
    "tenth 0, rest 1e4": beginning(0.1, 0.0, normal(1e4)),
}


def cases(name: str, dtype: torch.dtype, lengths: Sequence[int] = LENGTHS) -> list[Tensor]:
    """Of each length several rows, as the roundings of one alone are a matter of luck."""
    made = []
    for length in lengths:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            x = INPUTS[name](max(1, min(64, 10_000 // length)), length).to(dtype)
        finally:
            torch.set_default_dtype(before)
        if x.isfinite().all():
            made.append(x)
    return made


def half_ulp(reference: Tensor, dtype: torch.dtype) -> float:
    """Of the largest value."""
    largest = reference.abs().max().to(dtype)
    away = torch.nextafter(largest, torch.tensor(float("inf"), dtype=dtype))
    return (away.double() - largest.double()).item() / 2


def beside(x: Tensor, **options) -> tuple[Tensor, Tensor, Tensor]:
    """Ours, PyTorch's and the definition's."""
    statistics = None
    if not options.get("use_input_stats", True):
        statistics = options["running_mean"], options["running_var"]
    exact = oracle.exact(x, options.get("weight"), options.get("bias"), options.get("eps", 1e-5), statistics)
    return ours.instance_norm(x, **options), F.instance_norm(x, **options), exact


def allowed(reference: Tensor, dtype: torch.dtype) -> Tensor:
    return oracle.PROMISE[dtype] * (1 + reference.abs()) + oracle.HALF_ULP[dtype] * reference.abs()


def loses_digits(theirs: Tensor, reference: Tensor) -> bool:
    return bool(((theirs.double() - reference).abs() > allowed(reference, theirs.dtype)).any())


def assert_no_further(mine: Tensor, theirs: Tensor, reference: Tensor) -> None:
    dtype = mine.dtype
    errors = [(y.double() - reference).abs().max().item() for y in (mine, theirs)]
    if dtype in (torch.float16, torch.bfloat16) or loses_digits(theirs, reference):
        assert errors[0] <= errors[1] + half_ulp(reference, dtype)
    else:
        oracle.assert_close(mine, reference)
        difference = (mine.double() - theirs.double()).abs()
        assert (difference <= 2 * oracle.PROMISE[dtype] * (1 + theirs.double().abs())).all(), difference.max()


dtypes = pytest.mark.parametrize("dtype", oracle.FLOATS, ids=lambda d: str(d)[6:])
inputs = pytest.mark.parametrize("name", INPUTS)


@dtypes
def test_the_table_has_both_kinds(dtype):
    """Of every dtype inputs of which PyTorch loses digits, and in 32 and 64 bits such of which it does not."""
    far, near = ([loses_digits(*beside(x)[1:]) for x in cases(name, dtype, (40, 1000))] for name in ("N(100, 1)", "N(0, 1)"))
    assert all(far) and (any(near) == (dtype in (torch.float16, torch.bfloat16)))


@inputs
@dtypes
def test_values(name, dtype):
    for x in cases(name, dtype):
        assert_no_further(*beside(x))


@inputs
@dtypes
def test_values_with_weight_and_bias(name, dtype):
    for x in cases(name, dtype, (17, 1000)):
        w, b = torch.tensor([1.0, -0.5, 0.9]).to(dtype), torch.tensor([0.0, 0.5, -1.0]).to(dtype)
        assert_no_further(*beside(x, weight=w, bias=b))


@inputs
@dtypes
def test_values_by_running_statistics(name, dtype):
    """Those of the input itself, as they are rounded."""
    for x in cases(name, dtype, (17, 1000)):
        rows = x.double().transpose(0, 1).flatten(1)
        mean, var = rows.mean(1).to(dtype), rows.var(1).to(dtype)
        if var.isfinite().all():
            assert_no_further(*beside(x, running_mean=mean, running_var=var, use_input_stats=False))


# Below float64, which has no reference above it here.
narrower = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=lambda d: str(d)[6:])


def assert_no_further_or_kept(mine: Tensor, theirs: Tensor, reference: Tensor, promised: float) -> None:
    errors = [(t.double() - reference).abs().max().item() for t in (mine, theirs)]
    assert errors[0] <= max(errors[1], promised) + half_ulp(reference, mine.dtype)


@inputs
@narrower
def test_running_statistics(name, dtype):
    for x in cases(name, dtype, (17, 1000)):
        old = torch.zeros(3).to(dtype), torch.ones(3).to(dtype)
        reference = oracle.running(x, *old, 1.0)
        found = []
        for instance_norm in (ours.instance_norm, F.instance_norm):
            mean, var = old[0].clone(), old[1].clone()
            instance_norm(x, mean, var, momentum=1.0)
            found.append((mean, var))
        var = x.double().var(2).max().item()
        # A mean is right relative to the rows' deviation, a variance relative to itself.
        for mine, theirs, right, size in zip(*found, reference, (var**0.5, 2 * var)):
            if right.to(dtype).isfinite().all():
                assert_no_further_or_kept(mine, theirs, right, oracle.PROMISE[dtype] * size)


@inputs
@narrower
def test_gradients(name, dtype):
    """Not of rows of two values, whose gradient cancels."""
    for x in cases(name, dtype, (17, 1000)):
        w, b, g = torch.rand(3).to(dtype) + 0.5, torch.randn(3).to(dtype), torch.randn(x.shape).to(dtype)

        def gradients(f, *tensors, g=g):
            x, w, b = (t.detach().requires_grad_() for t in tensors)
            return torch.autograd.grad(f(x, weight=w, bias=b), (x, w, b), g.to(x.dtype))

        mine, theirs = gradients(ours.instance_norm, x, w, b), gradients(F.instance_norm, x, w, b)
        reference = gradients(oracle.normalize, x.double(), w.double(), b.double())
        for found, like, right in zip(mine, theirs, reference):
            assert_no_further_or_kept(found, like, right, 2e-6 * right.abs().max().item())
