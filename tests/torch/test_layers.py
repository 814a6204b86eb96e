"""RevIN and AdaIN1d, against the published formulas written out; Moments and denormalize."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import instnorm
import instnorm.torch as it
import torch_oracle as oracle
from instnorm.torch import functional as ours


def published_revin(x, y, weight, bias, eps, subtract_last):
    """Kim et al., ICLR 2022: a series x normalised, and a prediction y brought back."""
    stdev = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + eps).detach()
    centre = x[:, -1, :].unsqueeze(1) if subtract_last else torch.mean(x, dim=1, keepdim=True).detach()
    normalised = (x - centre) / stdev
    if weight is not None:
        normalised = normalised * weight + bias
        y = (y - bias) / (weight + eps * eps)
    return normalised, y * stdev + centre


def filled(module: torch.nn.Module) -> torch.nn.Module:
    for p in module.parameters():
        torch.nn.init.uniform_(p, 0.5, 2)
    return module


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("subtract_last", [False, True])
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_revin(affine, subtract_last, eps):
    revin = filled(it.RevIN(3, eps=eps, affine=affine, subtract_last=subtract_last).double())
    x, y = oracle.leaf(2, 20, 3), oracle.leaf(2, 7, 3)
    mine = revin(x, "norm"), revin(y, "denorm")
    expected = published_revin(x, y, revin.affine_weight, revin.affine_bias, eps, subtract_last)
    torch.testing.assert_close(mine, expected)
    g = [torch.randn_like(t) for t in expected]
    inputs = [x, y, *revin.parameters()]
    torch.testing.assert_close(torch.autograd.grad(mine, inputs, g), torch.autograd.grad(expected, inputs, g))


def test_revin_state_modes_and_mistakes():
    revin = it.RevIN(3)
    assert list(revin.state_dict()) == ["affine_weight", "affine_bias"]
    assert list(it.RevIN(3, affine=False).state_dict()) == []
    assert repr(revin) == "RevIN(3, eps=1e-05, affine=True, subtract_last=False)"
    with pytest.raises(RuntimeError, match="denorm needs the statistics of a norm"):
        revin(torch.randn(2, 7, 3), "denorm")
    with pytest.raises(ValueError, match="mode must be 'norm' or 'denorm', got 'normalize'"):
        revin(torch.randn(2, 7, 3), "normalize")
    with pytest.raises(ValueError, match=r"x must have shape \(N, L, C\) with C = 3, got \(2, 3, 7\)"):
        revin(torch.randn(2, 3, 7), "norm")
    last = it.RevIN(3, subtract_last=True)
    last(torch.randn(2, 7, 3, requires_grad=True), "norm")
    for twin in (copy.deepcopy(last), pickle.loads(pickle.dumps(last))):
        assert twin.moments is None and last.moments is not None


def test_revin_inverts_at_a_large_mean():
    x = (torch.randn(2, 100, 3).double() + 1e6).float()
    revin = it.RevIN(3)
    back = revin(revin(x, "norm"), "denorm")
    # An ulp of x, and the eps**2 beside the weight.
    assert (back - x).abs().max() <= 0.0625 + 1e-9


def published_adain(x, style, fc):
    h = fc(style)
    h = h.view(h.size(0), h.size(1), 1)
    gamma, beta = torch.chunk(h, chunks=2, dim=1)
    return (1 + gamma) * F.instance_norm(x) + beta


def test_adain():
    adain = it.AdaIN1d(5, 3).double()
    assert list(adain.state_dict()) == ["fc.weight", "fc.bias"]
    x, style = oracle.leaf(2, 3, 20), oracle.leaf(2, 5)
    mine, expected = adain(x, style), published_adain(x, style, adain.fc)
    torch.testing.assert_close(mine, expected)
    g, inputs = torch.randn_like(mine), [x, style, *adain.parameters()]
    torch.testing.assert_close(torch.autograd.grad(mine, inputs, g), torch.autograd.grad(expected, inputs, g))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = adain.float()(torch.randn(2, 3, 20), torch.randn(2, 5))
    assert y.dtype == torch.float32


def as_array(m):
    return instnorm.Moments(*(t.numpy() for t in m))


def random_moments(seed, empty):
    generator = torch.Generator().manual_seed(seed)
    count = torch.randint(0 if empty else 1, 5, (2, 3), generator=generator).double()
    mean, m2 = (torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    return it.Moments(count, torch.where(count > 0, mean, 0.0), torch.where(count > 1, m2**2, 0.0))


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_moments_are_those_of_arrays(seed, other, empty):
    a, b = random_moments(seed, empty), random_moments(other, empty)
    for mine, arrays in ((a.merge(b), as_array(a).merge(as_array(b))),):
        for t, u in zip(mine, (arrays.count, arrays.mean, arrays.m2)):
            torch.testing.assert_close(t, torch.from_numpy(u), rtol=1e-14, atol=1e-14)
    for ddof in (0, 1):
        torch.testing.assert_close(a.var(ddof), torch.from_numpy(as_array(a).var(ddof)), equal_nan=True)
        torch.testing.assert_close(a.std(ddof), torch.from_numpy(as_array(a).std(ddof)), equal_nan=True)


def test_moments_of_pieces_are_those_of_the_whole():
    x = torch.randn(2, 3, 100) + 1e4
    m = it.Moments.empty(2, 3)
    for piece in x.split((1, 40, 0, 59), dim=2):
        m = m.merge(ours.moments(piece))
    whole = ours.moments(x)
    # Of float32, sums of squares are taken in float32, over blocks.
    torch.testing.assert_close(m, whole, rtol=1e-6, atol=0)
    y, used = ours.instance_norm(x[..., :1], moments=m, return_moments=True)
    torch.testing.assert_close(y, F.instance_norm(x.double())[..., :1].float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(used, m, rtol=0, atol=0)


def test_merging_with_nothing_is_exact():
    a, nothing = random_moments(3, False), it.Moments.empty(2, 3)
    poisoned = nothing._replace(mean=torch.full((2, 3), float("nan")).double())
    for other in (nothing, poisoned):
        for merged in (a.merge(other), other.merge(a)):
            torch.testing.assert_close(merged, a, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"\[Moments.merge\] shapes differ: \(2, 3\) and \(3, 3\)"):
        a.merge(it.Moments.empty(3, 3))


def test_moments_differentiate():
    x, z = oracle.leaf(2, 3, 6), oracle.leaf(2, 3, 4)

    def f(x, z):
        m = ours.moments(x).merge(ours.moments(z))
        return m.mean, m.m2, m.std(1)

    assert torch.autograd.gradcheck(f, (x, z), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(f, (x, z))
    m = ours.moments(x)
    assert m.mean.requires_grad and not m.detach().mean.requires_grad
    # Of no variance there is no finite derivative of the deviation, but one of the variance.
    constant = torch.ones(1, 1, 5, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(ours.moments(constant).var(6).nan_to_num().sum(), constant)
    assert not g.isnan().any()


@pytest.mark.parametrize("graph", [False, True])
def test_moments_of_ranks_dtypes_and_layouts(graph):
    for x in (torch.randn(3, 8), torch.randn(2, 3, 2, 4), torch.randn(2, 3, 8).half(), torch.randn(2, 3, 0), torch.randn(2, 3, 1)):
        x.requires_grad_(graph)
        rows = x.detach().double().reshape(2 if x.dim() > 2 else 1, 3, -1 if x.numel() else 0)
        m = ours.moments(x)
        assert all(t.dtype == torch.float64 and t.shape == rows.shape[:2] for t in m)
        torch.testing.assert_close(m.count.detach(), torch.full(rows.shape[:2], rows.shape[2]).double())
        if rows.shape[2]:
            torch.testing.assert_close(m.mean.detach(), rows.mean(2), rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(m.m2.detach(), rows.var(2, unbiased=False) * rows.shape[2], rtol=1e-6, atol=1e-6)
        else:
            assert not torch.stack([*m]).any()
    for wrong in (torch.ones(3), torch.ones(2, 3, 4, dtype=torch.int64)):
        with pytest.raises(ValueError):
            ours.moments(wrong)


@pytest.mark.parametrize("data_format", ["NCL", "NLC"])
@pytest.mark.parametrize("per_instance", [False, True])
def test_denormalize(data_format, per_instance):
    shape = (2, 3, 6) if data_format == "NCL" else (2, 6, 3)
    y = oracle.leaf(*shape)
    w, b = (oracle.leaf(2, 3), oracle.leaf(2, 3)) if per_instance else (oracle.leaf(3), oracle.leaf(3))
    mean, m2 = oracle.leaf(2, 3), (torch.rand(2, 3).double() + 1).requires_grad_()
    count = torch.full((2, 3), 4.0).double()

    def f(y, w, b, mean, m2):
        m = it.Moments(count, mean, m2)
        return ours.denormalize(y, m, w, b, 0.1, weight_offset=3.0, data_format=data_format)

    def definition(y, w, b, mean, m2):
        rows = y if data_format == "NCL" else y.transpose(1, 2)
        w, b = (p.expand(2, 3)[..., None] for p in (w, b))
        x = (rows - b) / (w + 3.0) * torch.sqrt(m2 / count + 0.1)[..., None] + mean[..., None]
        return x if data_format == "NCL" else x.transpose(1, 2)

    arguments = (y, w, b, mean, m2)
    torch.testing.assert_close(f(*arguments), definition(*arguments))
    torch.testing.assert_close(f(*(t.detach() for t in arguments)), definition(*arguments).detach())
    assert torch.autograd.gradcheck(f, arguments, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, arguments)


@pytest.mark.parametrize("graph", [False, True])
def test_denormalize_by_a_weight_of_0_is_ieee(graph):
    y = torch.tensor([[[1.0, -1.0, 0.0]]], requires_grad=graph)
    m = ours.moments(torch.tensor([[[2.0, 4.0]]]))
    x = ours.denormalize(y, m, torch.tensor([0.0]))
    assert x[0, 0, 0] == float("inf") and x[0, 0, 1] == -float("inf") and x[0, 0, 2].isnan()


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("arguments", [
    (torch.randn(2, 3, 4), it.Moments.empty(2, 4)),
    (torch.randn(2, 3, 4), it.Moments.empty(2, 3), torch.ones(4)),
    (torch.randn(2, 3, 4), it.Moments.empty(2, 3), None, torch.ones(3).double()),
    (torch.ones(2, 3, 4, dtype=torch.int32), it.Moments.empty(2, 3)),
])
def test_denormalize_says_what_does_not_fit(arguments, graph):
    y = arguments[0]
    if graph and y.is_floating_point():
        y = y.clone().requires_grad_()
    with pytest.raises(ValueError, match=r"^\[denormalize\]"):
        ours.denormalize(y, *arguments[1:])


def test_the_way_back_compiles():
    torch.compiler.reset()
    x = torch.randn(2, 3, 8)

    def f(x):
        y, m = ours.instance_norm(x, return_moments=True)
        return ours.denormalize(y, m), ours.moments(x).merge(m).std()

    torch.testing.assert_close(torch.compile(f, backend="aot_eager", fullgraph=True)(x), f(x))
