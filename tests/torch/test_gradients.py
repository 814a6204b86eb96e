"""Derivatives of every order and direction, and what autograd notices."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad, gradcheck, gradgradcheck

import torch_oracle as oracle
from instnorm.torch import _formulas, functional as ours
from torch_oracle import leaf

NAMES = ("input", "weight", "bias")


def arguments(evaluating: bool):
    if not evaluating:
        return {}
    mean, var = torch.randn(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64) + 0.5
    return {"running_mean": mean, "running_var": var, "use_input_stats": False}


def tensors(which):
    x, w, b = leaf(2, 3, 5), leaf(3), leaf(3)
    return tuple(t for name, t in zip(NAMES, (x, w, b)) if name in which)


def function(which, options):
    constant_input = torch.randn(2, 3, 5, dtype=torch.float64)

    def f(*given):
        return ours.instance_norm(**{"input": constant_input, **dict(zip(which, given)), **options})

    return f


WHICH = [w for k in (1, 2, 3) for w in itertools.combinations(NAMES, k)]


@pytest.mark.parametrize("evaluating", [False, True])
@pytest.mark.parametrize("which", WHICH, ids="-".join)
def test_first_and_second_derivatives(which, evaluating):
    f, given = function(which, arguments(evaluating)), tensors(which)
    assert gradcheck(f, given, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    # Of an input on which nothing nonlinear depends there is no second derivative.
    if which != ("bias",) and not (evaluating and len(which) == 1):
        assert gradgradcheck(f, given, check_fwd_over_rev=True, check_batched_grad=True)


def test_bias_without_weight_keeps_what_flows_through_its_gradient():
    # PyTorch loses it.
    x, b = leaf(2, 3, 5), leaf(3)
    y = ours.instance_norm(x, bias=b)
    g = leaf(2, 3, 5)
    gx, gb = torch.autograd.grad(y, (x, b), g, create_graph=True)
    (gg,) = torch.autograd.grad(gb.square().sum(), g)
    torch.testing.assert_close(gg, (2 * gb)[None, :, None].expand(2, 3, 5))


@pytest.mark.parametrize("evaluating", [False, True])
def test_second_derivatives_are_the_kernels(evaluating, monkeypatch):
    for name in ("normalize", "instance_norm"):
        monkeypatch.setattr(_formulas, name, lambda *a, **k: pytest.fail("the formulas were asked"))
    f, given = function(NAMES, arguments(evaluating)), tensors(NAMES)
    assert gradgradcheck(f, given, gen_non_contig_grad_outputs=True)
    # What does not flow back counts as 0, what is not asked for is not needed.
    x, w, b = given
    gx, gw, gb = torch.autograd.grad(f(x, w, b), (x, w, b), torch.ones(2, 3, 5).double(), create_graph=True)
    for t in (gx, gw) if not evaluating else (gw,):
        scalar = t.pow(2).sum()
        (alone,) = torch.autograd.grad(scalar, x, retain_graph=True)
        _, among = torch.autograd.grad(scalar, (w, x), retain_graph=True, allow_unused=True)
        torch.testing.assert_close(alone, among, rtol=0, atol=0)


@pytest.mark.parametrize("mean", [0.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gradient_penalty_in_other_dtypes(dtype, mean):
    """Of x as it is rounded, by the definition in float64."""
    mean = mean if dtype == torch.float32 else mean / 1e5
    x, w = leaf(2, 3, 200, dtype=dtype, mean=mean), leaf(3, dtype=torch.float32)
    g = torch.randn(2, 3, 200).to(dtype)

    def penalty(f, x, w, g):
        (gx,) = torch.autograd.grad(f(x, weight=w), x, g, create_graph=True)
        return torch.autograd.grad(gx.double().pow(3).sum(), (x, w))

    mine = penalty(ours.instance_norm, x, w, g)
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    expected = penalty(oracle.normalize, *wide, g.double())
    # The first gradient is rounded to its dtype, which its square has twice, what flows back to it once
    # more, and the result: 4 roundings of half an ulp, of sums of four terms that partly cancel.
    bound = max(16 * oracle.HALF_ULP[dtype], 16e-6)
    for found, right in zip(mine, expected):
        assert (found.double() - right).abs().max() <= bound * right.abs().max()


def test_third_derivatives():
    # PyTorch's are silently wrong.
    x = leaf(1, 1, 4)

    def derivative(f, order):
        y = f(x)
        for k in range(order):
            (y,) = torch.autograd.grad((y * torch.arange(1.0, 5.0) ** (k + 1)).sum(), x, create_graph=True)
        return y

    torch.testing.assert_close(derivative(ours.instance_norm, 3), derivative(oracle.normalize, 3))


def compositions():
    func = torch.func
    weights = torch.arange(1.0, 13.0, dtype=torch.float64).reshape(1, 3, 4)

    def scalar(f):
        return lambda x: (f(x) * weights).sin().sum()

    return {
        "grad": lambda f: func.grad(scalar(f)),
        "vjp": lambda f: lambda x: func.vjp(f, x)[1](weights)[0],
        "jvp": lambda f: lambda x: func.jvp(f, (x,), (weights,))[1],
        "jacrev": func.jacrev,
        "jacfwd": func.jacfwd,
        "hessian": lambda f: func.hessian(scalar(f)),
        "vjp of jvp": lambda f: func.jacrev(lambda x: func.jvp(f, (x,), (weights,))[1]),
        "jvp of jvp": lambda f: func.jacfwd(func.jacfwd(scalar(f))),
        "grad of grad of grad": lambda f: func.grad(lambda x: (func.grad(lambda y: (func.grad(scalar(f))(y) * weights).sum())(x)).sum()),
        "vmap": lambda f: lambda x: func.vmap(f)(torch.stack([x, 2 * x])),
        "vmap of grad": lambda f: lambda x: func.vmap(func.grad(scalar(f)))(torch.stack([x, x.exp()])),
        "linearize": lambda f: lambda x: func.linearize(f, x)[1](weights),
    }


@pytest.mark.parametrize("name", compositions())
@pytest.mark.parametrize("evaluating", [False, True])
def test_transforms(name, evaluating):
    x = torch.randn(1, 3, 4, dtype=torch.float64)
    w, b = torch.rand(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    options = arguments(evaluating)
    stats = (options["running_mean"], options["running_var"]) if evaluating else None
    transform = compositions()[name]
    mine = transform(lambda x: ours.instance_norm(x, weight=w, bias=b, **options))(x)
    expected = transform(lambda x: oracle.normalize(x, w, b, statistics=stats))(x)
    torch.testing.assert_close(mine, expected)


def test_transforms_of_parameters_and_per_sample_gradients():
    x, w, b = torch.randn(4, 2, 3, 6), torch.rand(3), torch.rand(3)

    def loss(f):
        return lambda w, b, x: f(x, weight=w, bias=b).square().sum()

    def per_sample(f):
        return torch.func.vmap(torch.func.grad(loss(f), argnums=(0, 1, 2)), in_dims=(None, None, 0))(w, b, x)

    for mine, expected in zip(per_sample(ours.instance_norm), per_sample(oracle.normalize)):
        torch.testing.assert_close(mine, expected.float(), atol=1e-5, rtol=1e-5)


def test_dual_numbers():
    x, tangent = torch.randn(2, 3, 6).double(), torch.randn(2, 3, 6).double()
    with forward_ad.dual_level():
        y = forward_ad.unpack_dual(ours.instance_norm(forward_ad.make_dual(x, tangent)))
        expected = forward_ad.unpack_dual(oracle.normalize(forward_ad.make_dual(x, tangent)))
        torch.testing.assert_close(y.primal, expected.primal)
        torch.testing.assert_close(y.tangent, expected.tangent)


@pytest.mark.parametrize("mean", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("length", [7, 1000])
def test_float32_gradients_keep_the_promise(mean, length):
    x, w, b = leaf(2, 4, length, dtype=torch.float32, mean=mean), leaf(4, dtype=torch.float32), leaf(4, dtype=torch.float32)
    g = torch.randn(2, 4, length)
    mine = torch.autograd.grad(ours.instance_norm(x, weight=w, bias=b), (x, w, b), g)
    wide = [t.detach().double().requires_grad_() for t in (x, w, b)]
    expected = torch.autograd.grad(oracle.normalize(wide[0], *wide[1:]), wide, g.double())
    for found, right in zip(mine, expected):
        oracle.assert_gradient(found, right)


@pytest.mark.parametrize("dtype", oracle.FLOATS)
@pytest.mark.parametrize("parameter_dtype", [None, torch.float32])
def test_gradients_have_the_dtypes_of_what_they_belong_to(dtype, parameter_dtype):
    p = dtype if parameter_dtype is None or dtype == torch.float64 else parameter_dtype
    x, w, b = leaf(2, 3, 50, dtype=dtype), leaf(3, dtype=p), leaf(3, dtype=p)
    ours.instance_norm(x, weight=w, bias=b).float().sum().backward()
    assert [t.grad.dtype for t in (x, w, b)] == [dtype, p, p]


@pytest.mark.parametrize("make", [
    lambda y: y.sum(),
    lambda y: y[..., ::2].square().sum(),
    lambda y: y.transpose(1, 2).reshape(-1).exp().sum(),
    lambda y: y.mul_(torch.arange(20.0)).relu_().sum(),
], ids=["expanded", "strided", "transposed", "in place"])
def test_any_grad_output_and_in_place_on_the_result(make):
    x, w = leaf(2, 3, 20), leaf(3)
    mine = torch.autograd.grad(make(ours.instance_norm(x, weight=w)), (x, w))
    expected = torch.autograd.grad(make(oracle.normalize(x, w)), (x, w))
    for found, right in zip(mine, expected):
        torch.testing.assert_close(found, right, atol=1e-12, rtol=1e-9)


def test_an_input_changed_before_backward_is_noticed():
    for f in (ours.instance_norm, F.instance_norm):
        x = leaf(2, 3, 8)
        h = x * 1
        y = f(h)
        h.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_two_tracking_forwards_then_one_backward():
    x, mean, var = leaf(2, 3, 8), torch.zeros(3).double(), torch.ones(3).double()
    first = ours.instance_norm(x, mean, var)
    second = ours.instance_norm(first, mean, var)
    assert mean._version == 2
    (g,) = torch.autograd.grad(second.pow(3).sum(), x)
    (expected,) = torch.autograd.grad(oracle.normalize(oracle.normalize(x)).pow(3).sum(), x)
    torch.testing.assert_close(g, expected, atol=1e-9, rtol=1e-6)


def test_running_statistics_changed_before_backward_do_not_matter():
    x, w = leaf(2, 3, 8), leaf(3)
    mean, var = torch.randn(3).double(), torch.rand(3).double() + 1
    (expected,) = torch.autograd.grad(oracle.normalize(x, w, statistics=(mean, var)).pow(2).sum(), w)
    y = ours.instance_norm(x, mean, var, w, use_input_stats=False)
    mean.zero_(), var.fill_(7)
    (g,) = torch.autograd.grad(y.pow(2).sum(), w)
    torch.testing.assert_close(g, expected)


def test_gradients_go_where_they_are_asked_for_only():
    x, w, b = leaf(2, 3, 8), leaf(3), leaf(3)
    for wanted in (x, w, b):
        for t in (x, w, b):
            t.requires_grad_(t is wanted)
            t.grad = None
        ours.instance_norm(x, weight=w, bias=b).pow(3).sum().backward()
        assert [t.grad is not None for t in (x, w, b)] == [t is wanted for t in (x, w, b)]
    with torch.no_grad():
        assert not ours.instance_norm(x, weight=w.requires_grad_()).requires_grad


def test_grads_of_many_grad_outputs_at_once():
    x = leaf(2, 3, 4)
    y = ours.instance_norm(x)
    g = torch.randn(5, 2, 3, 4).double()
    (batched,) = torch.autograd.grad(y, x, g, is_grads_batched=True, retain_graph=True)
    for one, expected in zip(batched, g):
        torch.testing.assert_close(one, torch.autograd.grad(y, x, expected, retain_graph=True)[0])
