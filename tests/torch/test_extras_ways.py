"""The extras in every way in: what a transform, a compiler or an exporter makes of a call is that call."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils import checkpoint

import instnorm.torch as it
from instnorm.torch import _formulas, functional as ours

N, C, L = 2, 3, 6
MOMENTS = it.Moments(*(torch.full((N, C), v, dtype=torch.float64) for v in (5.0, 0.5, 7.0)))
EXTRAS = {
    "lengths": dict(lengths=torch.tensor([4, 6])),
    "mask": dict(mask=torch.tensor([[True, True, False, True, False, True], [True] * 6])),
    "omit": dict(nan_policy="omit"),
    "NLC": dict(data_format="NLC"),
    "activation": dict(activation="gelu"),
    "weight_offset": dict(weight_offset=1.0),
    "moments": dict(moments=MOMENTS),
    "(N, C)": dict(
        weight=torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.7, 2.0]], dtype=torch.float64),
        bias=torch.tensor([[0.1, 0.2, -0.3], [1.0, 0.0, -1.0]], dtype=torch.float64),
    ),
    "all": dict(lengths=torch.tensor([4, 6]), nan_policy="omit", activation="silu", weight_offset=1.0),
}
extras = pytest.mark.parametrize("extra", EXTRAS)
W = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
B = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)


def input_for(extra: str, seed: int = 0) -> torch.Tensor:
    x = torch.randn(N, C, L, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if "omit" in EXTRAS[extra].values():
        x[0, 1, 2] = float("nan")
    return x.transpose(1, 2).contiguous() if extra == "NLC" else x


def function(extra: str):
    def f(x):
        return ours.instance_norm(x, **{"weight": W, "bias": B, **EXTRAS[extra]})

    return f


def gradient(f, x, g):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x), x, g)[0]


def same(mine, plain):
    torch.testing.assert_close(mine, plain, rtol=1e-11, atol=1e-11, equal_nan=True)


@extras
def test_vmap(extra):
    f, xs = function(extra), torch.stack([input_for(extra, seed) for seed in range(3)])
    same(torch.func.vmap(f)(xs), torch.stack([f(x) for x in xs]))


@extras
def test_transforms_of_gradients(extra):
    f, x = function(extra), input_for(extra)
    g, t = torch.randn_like(x), torch.randn_like(x)
    expected = gradient(f, x, g)
    y, pull = torch.func.vjp(f, x)
    same((y, pull(g)[0]), (f(x), expected))
    _, pushed = torch.func.jvp(f, (x,), (t,))
    # <g, J t> = <J' g, t>; a NaN that was left out has no derivative.
    same((pushed.nan_to_num() * g).sum(), (expected * t).sum())
    per_sample = torch.func.vmap(torch.func.grad(lambda x: (f(x).nan_to_num() * g).sum()))
    same(per_sample(torch.stack([x, x])), torch.stack([expected, expected]))


@extras
@pytest.mark.parametrize("per_instance", [False, True])
def test_gradients_of_two_orders(extra, per_instance):
    """By differences, of input, weight and bias."""
    shape = (N, C) if per_instance else (C,)
    generator = torch.Generator().manual_seed(3)
    w, b = (torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))

    def f(x, w, b):
        if "omit" in EXTRAS[extra].values():
            x = x.clone()
            x[0, 1, 2] = float("nan")
        return ours.instance_norm(x, **{**EXTRAS[extra], "weight": w, "bias": b}).nan_to_num()

    x = input_for(extra).nan_to_num().requires_grad_()
    assert torch.autograd.gradcheck(f, (x, w, b), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(f, (x, w, b), fast_mode=True, gen_non_contig_grad_outputs=True)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("extra", ["lengths", "NLC", "weight_offset", "(N, C)"])
def test_second_derivatives_are_the_kernels(extra, given, monkeypatch):
    for name in ("normalize", "instance_norm"):
        monkeypatch.setattr(_formulas, name, lambda *a, **k: pytest.fail("the formulas were asked"))
    w, b = (t.clone().requires_grad_() for t in (EXTRAS[extra].get("weight", W), EXTRAS[extra].get("bias", B)))
    options = {k: v for k, v in EXTRAS[extra].items() if k not in ("weight", "bias")}
    if given:
        options["moments"] = MOMENTS

    def f(x, w, b):
        return ours.instance_norm(x, weight=w, bias=b, **options)

    x = input_for(extra).requires_grad_()
    assert torch.autograd.gradgradcheck(f, (x, w, b), gen_non_contig_grad_outputs=True)


@extras
def test_second_derivatives_under_compile(extra):
    """Through what was compiled; inside, as torch.func has them. (aot_autograd has none of its own.)"""
    f, x = function(extra), input_for(extra)
    t = torch.randn_like(x)

    def penalty(f, x):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad((f(x).nan_to_num() * t).sum(), x, create_graph=True)
        # By given moments g does not depend on x.
        return torch.autograd.grad(g.square().sum(), x, materialize_grads=True)[0]

    def inside(x):
        def square(x):
            return torch.func.grad(lambda x: (f(x).nan_to_num() * t).sum())(x).square().sum()

        return torch.func.grad(square)(x)

    expected = penalty(f, x)
    torch.compiler.reset()
    same(penalty(torch.compile(f, backend="eager", fullgraph=True), x), expected)
    torch.compiler.reset()
    same(torch.compile(inside, backend="aot_eager", fullgraph=True)(x), expected)


def test_vmap_over_everything():
    """lengths, masks and parameters of (N, C) may be mapped over as x is."""
    xs = torch.randn(4, N, C, L, dtype=torch.float64)
    ws, bs = torch.randn(4, N, C, dtype=torch.float64), torch.randn(4, C, dtype=torch.float64)
    lengths, masks = torch.randint(0, L + 1, (4, N)), torch.rand(4, N, L) < 0.6

    def by_lengths(x, w, b, there):
        return ours.instance_norm(x, weight=w, bias=b, lengths=there)

    def by_mask(x, w, b, there):
        return ours.instance_norm(x, weight=w, bias=b, mask=there)

    for f, there in ((by_lengths, lengths), (by_mask, masks)):
        same(torch.func.vmap(f)(xs, ws, bs, there), torch.stack([f(*row) for row in zip(xs, ws, bs, there)]))


@pytest.mark.parametrize("inputs", ["lengths", "mask"])
def test_export_of_what_is_there_as_an_input(inputs):
    class Model(torch.nn.Module):
        def forward(self, x, there):
            return ours.instance_norm(x, weight=W, bias=B, **{inputs: there})

    first, second = (
        (torch.tensor([4, 6]), torch.tensor([0, 5]))
        if inputs == "lengths"
        else (torch.rand(N, L) < 0.5, torch.rand(N, L) < 0.5)
    )
    program = torch.export.export(Model(), (input_for("lengths"), first), strict=False)
    x = input_for("lengths", 1)
    same(program.module()(x, second), Model()(x, second))


@extras
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu")])
def test_contexts_and_checkpoint(extra, context):
    f, x = function(extra), input_for(extra)
    plain = f(x)
    with context():
        same(f(x), plain)
    g = torch.randn_like(x)
    same(gradient(lambda x: checkpoint.checkpoint(f, x, use_reentrant=False), x, g), gradient(f, x, g))


@extras
@pytest.mark.parametrize("strict", [True, False])
def test_export(extra, strict):
    if strict and not hasattr(torch.compiler, "is_exporting"):
        pytest.skip("PyTorch 2.6 does not tell strict export from torch.compile")

    class Model(torch.nn.Module):
        def forward(self, x):
            return function(extra)(x)

    torch.compiler.reset()
    program = torch.export.export(Model(), (input_for(extra),), strict=strict)
    other = input_for(extra, 1)
    same(program.module()(other), function(extra)(other))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert not any("instnorm" in target for target in called)


@extras
def test_make_fx_and_functionalize(extra):
    from torch.fx.experimental.proxy_tensor import make_fx

    f, x, other = function(extra), input_for(extra), input_for(extra, 1)
    same(make_fx(f)(x)(other), f(other))
    same(torch.func.functionalize(f)(x), f(x))


@pytest.mark.parametrize("extra", ["all", "NLC"])
def test_compile_with_dynamic_shapes(extra):
    torch.compiler.reset()
    compiled = torch.compile(function(extra), backend="inductor", fullgraph=True, dynamic=True)
    for seed in range(2):
        x, g = input_for(extra, seed), torch.randn(2, 6, 3, dtype=torch.float64)
        g = g if extra == "NLC" else g.transpose(1, 2)
        same(compiled(x), function(extra)(x))
        same(gradient(compiled, x, g), gradient(function(extra), x, g))


@pytest.mark.parametrize("way", ["vmap", "jvp", "compile", "export"])
def test_moments_and_the_way_back(way):
    def f(x):
        y, m = ours.instance_norm(x, weight=W, bias=B, return_moments=True)
        return ours.denormalize(y, m, W, B), m.merge(ours.moments(x)).var()

    x = input_for("activation")
    back, var = f(x)
    if way == "vmap":
        same(torch.func.vmap(f)(torch.stack([x, 2 * x])), tuple(map(torch.stack, zip(f(x), f(2 * x)))))
    elif way == "jvp":
        # The way back of the way there is the identity, and a variance's derivative is linear in x.
        _, (along, of_var) = torch.func.jvp(f, (x,), (x,))
        same((along, of_var), (x, 2 * var))
    elif way == "compile":
        torch.compiler.reset()
        compiled = torch.compile(f, backend="aot_eager", fullgraph=True)
        same(compiled(x), (back, var))

        def g(f):
            leaf = x.clone().requires_grad_()
            return torch.autograd.grad(sum(t.pow(3).sum() for t in f(leaf)), leaf)

        same(g(compiled), g(f))
    else:
        class Model(torch.nn.Module):
            def forward(self, x):
                return f(x)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same(torch.export.export(Model(), (x,), strict=False).module()(2 * x), f(2 * x))
