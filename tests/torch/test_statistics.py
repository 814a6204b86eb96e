"""Gradients of moments, denormalize and merge by the kernels: those of the formulas, and where they are taken."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

import instnorm.torch as it
import torch_oracle as oracle
from instnorm.torch import _formulas, functional as ours
from torch_oracle import leaf

N, C, L = 3, 2, 7
THERE = {
    "all": {},
    "lengths": dict(lengths=torch.tensor([4, 0, 7])),
    "mask (N, L)": dict(mask=torch.tensor([[True, False] * 3 + [True], [False] * 7, [True] * 7])),
    "omit": dict(nan_policy="omit"),
}


def by_formulas(f):
    with forward_ad.dual_level():
        return f()


def no_formulas(monkeypatch, *names):
    for name in names:
        monkeypatch.setattr(_formulas, name, lambda *a, **k: pytest.fail("the formulas were asked"))


def x_for(where, data_format, rank, dtype=torch.float64):
    x = torch.randn(N, C, L, dtype=torch.float64).to(dtype)
    if where == "omit":
        x[0, 1, 2] = x[2, 0, 0] = float("nan")
    x = x.transpose(1, 2).contiguous() if data_format == "NLC" else x
    return (x if rank == 3 else x[0]).requires_grad_()


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("data_format", ["NCL", "NLC"])
@pytest.mark.parametrize("where", THERE)
def test_moments(where, data_format, rank, monkeypatch):
    options = {**THERE[where], "data_format": data_format}
    if rank == 2:
        options = {k: v[:1] if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    x = x_for(where, data_format, rank)
    g = [torch.randn(N if rank == 3 else 1, C, dtype=torch.float64) for _ in range(2)]

    def gradient():
        m = ours.moments(x, **options)
        return (m.mean.detach(), m.m2.detach(), *torch.autograd.grad((m.mean, m.m2), x, g))

    expected = by_formulas(gradient)
    no_formulas(monkeypatch, "moments", "moments_backward")
    found = gradient()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (alone,) = torch.autograd.grad(ours.moments(x, **options).m2.sum(), x)
    assert alone.shape == x.shape and not alone.isnan().any()


def test_moments_to_the_second_order():
    x = x_for("all", "NCL", 3)
    assert torch.autograd.gradgradcheck(lambda x: ours.moments(x, lengths=torch.tensor([4, 1, 7]))[1:], (x,))


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("data_format", ["NCL", "NLC"])
@pytest.mark.parametrize("parameters", ["none", "weight", "bias", "(C,)", "(N, C)"])
def test_denormalize(parameters, data_format, rank, monkeypatch):
    n = N if rank == 3 else 1
    y = x_for("all", data_format, rank)
    shape = (n, C) if parameters == "(N, C)" else (C,)
    w = leaf(*shape) if parameters in ("weight", "(C,)", "(N, C)") else None
    b = leaf(*shape) if parameters in ("bias", "(C,)", "(N, C)") else None
    mean, m2 = leaf(n, C), (torch.rand(n, C, dtype=torch.float64) + 1).requires_grad_()
    count = (torch.rand(n, C, dtype=torch.float64) * 9 + 2).requires_grad_()
    wanted = [t for t in (y, count, mean, m2, w, b) if t is not None]
    g = torch.randn_like(y)

    def gradients():
        x = ours.denormalize(y, it.Moments(count, mean, m2), w, b, 0.25, weight_offset=3.0, data_format=data_format)
        return x.detach(), torch.autograd.grad(x, wanted, g)

    expected = by_formulas(gradients)
    no_formulas(monkeypatch, "denormalize")
    torch.testing.assert_close(gradients(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mean", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_in_other_dtypes(dtype, mean):
    """There and back and around, by the formulas of x as it is rounded, in float64."""
    mean = mean if dtype == torch.float32 else mean / 1e3
    x, w = leaf(2, 3, 200, dtype=dtype, mean=mean), leaf(3, dtype=torch.float32)
    g = torch.randn(2, 3, 200).to(dtype)

    def gradients(x, w, g):
        m = ours.moments(x)
        gx, gw = torch.autograd.grad(ours.denormalize(g, m, w, weight_offset=2.0), (x, w), g)
        return gx, gw

    found = gradients(x, w, g)
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    expected = by_formulas(lambda: gradients(*wide, g.double()))
    assert found[0].dtype == dtype and found[1].dtype == torch.float32
    for mine, right in zip(found, expected):
        oracle.assert_gradient(mine, right, 4e-6)  # sums over L, twice one behind the other


def test_merge_by_the_kernels_is_the_formula():
    a, b = (ours.moments(torch.randn(2, 3, k, dtype=torch.float64)) for k in (5, 9))
    empty = it.Moments.empty(2, 3)
    nan = it.Moments(empty.count, empty.mean + float("nan"), empty.m2 + float("nan"))
    for left, right in ((a, b), (a, empty), (nan, b), (a, nan), (empty, empty)):
        found, expected = left.merge(right), by_formulas(lambda: left.merge(right))
        assert isinstance(found, it.Moments)
        torch.testing.assert_close(found, expected, rtol=4 * 2.0**-52, atol=0, equal_nan=True)
    narrow = it.Moments(*(t.float() for t in a))
    assert narrow.merge(narrow).mean.dtype == torch.float32
    a.mean.requires_grad_()
    assert a.merge(b).m2.requires_grad
