"""Every legal combination of the extras against one textbook oracle: values, running statistics, gradients
of both orders; and by differences.

    where 5 x nan_policy 3 x data_format 2 x parameters 3 x activation 6 x statistics 3 = 1620
    with 4 dtypes 6480, all of them walked by the kernels; float64 by the formulas too.

By differences, which take ten times as long, every fifth is: five goes into no other of the sizes, so that
all values of any two of the options meet.

Compiled, exported and mapped calls are test_extras_ways.py's.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck

import instnorm.torch as it
import torch_oracle as oracle
from instnorm.torch import functional as ours
from test_torch_extras import ACTIVATIONS

N, C, L = 3, 2, 5
EPS, MOMENTUM, OFFSET = 1e-5, 0.25, 0.5
WHERE = ["all", "lengths", "mask (N, L)", "mask (N, 1, L)", "mask (N, C, L)"]
NAN_POLICIES = ["propagate", "omit", "raise"]
FORMATS = ["NCL", "NLC"]
PARAMETERS = ["none", "(C,)", "(N, C)"]
STATISTICS = ["own", "given", "running"]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


class Case:
    """One call, its values (N, C, L) as they are rounded to the dtype, and what is there of them."""

    def __init__(self, where, nan_policy, data_format, parameters, activation, statistics, dtype):
        generator = torch.Generator().manual_seed(5)

        def randn(*shape, of=dtype):
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(of)

        self.name = f"{where}, {nan_policy}, {data_format}, {parameters}, {activation}, {statistics}, {dtype}"
        self.dtype, self.data_format, self.statistics, self.activation = dtype, data_format, statistics, activation
        self.x, self.g, self.u = randn(N, C, L), randn(N, C, L), randn(N, C, L)
        self.there = torch.ones(N, C, L, dtype=torch.bool)
        self.extras = {"nan_policy": nan_policy, "activation": activation, "data_format": data_format}
        if where == "lengths":
            self.extras["lengths"] = torch.tensor([L - 1, 1, L])
            self.there = (torch.arange(L) < self.extras["lengths"][:, None])[:, None].expand(N, C, L).clone()
        elif where != "all":
            shape = {"mask (N, L)": (N, 1, L), "mask (N, 1, L)": (N, 1, L), "mask (N, C, L)": (N, C, L)}[where]
            mask = torch.rand(shape, generator=generator) < 0.7
            mask[0, 0] = torch.tensor([False, True, True, False, True])
            mask[1, 0] = torch.tensor([False, False, True, False, False])  # a row of one value
            self.there = mask.expand(N, C, L).clone()
            self.extras["mask"] = mask[:, 0] if where == "mask (N, L)" else self.turned(mask)
        self.valid = self.there.clone()
        if nan_policy == "omit":
            self.x[0, 0, 1] = self.x[2, 1, 0] = float("nan")
            self.there &= ~self.x.isnan()
        # What is not there is whatever there is.
        junk = torch.tensor([float("nan"), float("inf"), float("-inf")], dtype=dtype).repeat(N * C * L)
        self.x = torch.where(self.valid, self.x, junk[: N * C * L].reshape(N, C, L))
        self.g = torch.where(self.there, self.g, float("nan"))
        self.u = torch.where(self.there, self.u, float("nan"))

        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.weight = self.bias = None
        if parameters != "none":
            shape = (C,) if parameters == "(C,)" else (N, C)
            self.weight, self.bias = randn(*shape, of=self.wide), randn(*shape, of=self.wide)
            self.extras["weight_offset"] = OFFSET
        self.mean = randn(C, of=self.wide)
        self.var = torch.rand(C, generator=generator, dtype=torch.float64).to(self.wide) + 0.5
        if statistics == "running":
            self.extras["use_input_stats"] = False
        if statistics == "given":
            count = torch.tensor([[5.0, 1.0], [9.0, 4.0], [2.0, 3.0]], dtype=torch.float64)
            self.given = it.Moments(count, randn(N, C, of=torch.float64), count * (0.5 + torch.rand(N, C, generator=generator, dtype=torch.float64)))
            self.extras["moments"] = self.given

    def turned(self, t):
        """(N, C, L) in the call's layout; and back, which is the same."""
        return t.transpose(1, 2).contiguous() if self.data_format == "NLC" else t

    def leaves(self, dtype=None):
        tensors = [t for t in (self.x, self.weight, self.bias) if t is not None]
        return [t.to(dtype or t.dtype).requires_grad_() for t in tensors]

    def mine(self, x, weight=None, bias=None, running=(None, None)):
        y = ours.instance_norm(
            self.turned(x), *running, weight, bias, momentum=MOMENTUM, eps=EPS, **self.extras
        )
        return self.turned(y)

    def frozen(self):
        """Running statistics where they normalise, and none where they would be updated."""
        return (self.mean, self.var) if self.statistics == "running" else (None, None)

    # The textbook, in float64, on what is there.

    def rows(self, x):
        """count, mean and m2 of the values that are there, (N, C, 1)."""
        count = self.there.sum(-1, keepdim=True).double()
        x = torch.where(self.there, x, 0.0)
        mean = x.sum(-1, keepdim=True) / count.clamp(min=1)
        return count, mean, torch.where(self.there, (x - mean) ** 2, 0.0).sum(-1, keepdim=True)

    def definition(self, x, weight=None, bias=None):
        x = torch.where(self.there, x, 0.0)
        if self.statistics == "own":
            count, mean, m2 = self.rows(x)
        elif self.statistics == "given":
            count, mean, m2 = (t[..., None] for t in self.given)
        else:
            count, mean, m2 = 2.0 * torch.ones(N, C, 1), self.mean.double()[:, None], 2.0 * self.var.double()[:, None]
        ordinary = count >= 2
        std = torch.sqrt(torch.where(ordinary, m2 / count.clamp(min=1), 1.0) + EPS)
        z = torch.where(ordinary, x - mean, 0.0) / std
        if weight is not None:
            z = z * (weight.double() + OFFSET)[..., None]
        if bias is not None:
            z = z + bias.double()[..., None]
        y = ACTIVATIONS[self.activation](z)
        return torch.where(self.there, y, torch.where(self.valid, float("nan"), 0.0))

    def updated(self):
        count, mean, m2 = (t[..., None] for t in self.given) if self.statistics == "given" else self.rows(self.x.double())
        counted = (count >= 2)[..., 0]
        new = torch.where(counted, mean[..., 0], 0.0), torch.where(counted, (m2 / (count - 1))[..., 0], 0.0)
        return [
            torch.where(counted.any(0), MOMENTUM * t.sum(0) / counted.sum(0) + (1 - MOMENTUM) * old.double(), old.double())
            for t, old in zip(new, (self.mean, self.var))
        ]


def cases(where, nan_policy, dtype, activations=ACTIVATIONS):
    for rest in itertools.product(FORMATS, PARAMETERS, activations, STATISTICS):
        yield Case(where, nan_policy, *rest, dtype)


def finite(t):
    return torch.where(t.isnan(), torch.zeros((), dtype=t.dtype), t)


def gradients(f, leaves, g, u):
    """y; the gradients by g; those of what flows back to them: u to x's, themselves to the others."""
    y = f(*leaves)
    first = torch.autograd.grad(finite(y), leaves, g, create_graph=True)
    scalar = (first[0] * u).sum() + sum(t.square().sum() for t in first[1:])
    second = torch.autograd.grad(scalar, leaves, materialize_grads=True) if scalar.requires_grad else []
    return y.detach(), [t.detach() for t in first], list(second)


# Of gradients that are sums of at most 15 terms of size 1 and partly cancel: 2e-6, the promise for float32,
# relative to 1 and to the largest element. The roundings of the first are doubled by the square in the
# second, which has twice as many: four times as much, in 16 bits of half a unit in the last place.
FIRST = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 2e-6, torch.bfloat16: 2e-6}


def assert_gradients(found, expected, dtype, second=False):
    for mine, right in zip(found, expected):
        right = right.detach()
        rounding = max(oracle.HALF_ULP[mine.dtype], oracle.HALF_ULP[dtype] if second else 0.0)
        bound = (FIRST[dtype] + rounding) * (4 if second else 1) * (1 + right.abs().max())
        wrong = ~((mine.double() - right).abs() <= bound)
        assert not wrong.any(), f"{mine[wrong]} for {right[wrong]}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("nan_policy", NAN_POLICIES)
@pytest.mark.parametrize("where", WHERE)
def test_by_the_kernels(where, nan_policy, dtype):
    for case in cases(where, nan_policy, dtype):
        mean, var = case.mean.clone(), case.var.clone()
        leaves, wide = case.leaves(), case.leaves(torch.float64)
        y, first, second = gradients(lambda *t: case.mine(*t, running=case.frozen()), leaves, case.g, finite(case.u))
        g, u = finite(case.g).double(), finite(case.u).double()
        right, right_first, right_second = gradients(case.definition, wide, g, u)
        try:
            oracle.assert_close(y, right)
            assert_gradients(first, right_first, dtype)
            assert not first[0][~case.there].any()
            if second and right_second:
                assert_gradients(second, right_second, dtype, second=True)
                assert not second[0][~case.there].any()
            # Running statistics, without a gradient.
            oracle.assert_close(case.mine(*(t.detach() for t in leaves), running=(mean, var)), right)
            if case.statistics != "running":
                for found, new in zip((mean, var), case.updated()):
                    torch.testing.assert_close(found.double(), new, rtol=2e-6, atol=2e-6)
            else:
                assert torch.equal(mean, case.mean) and torch.equal(var, case.var)
        except AssertionError as error:
            raise AssertionError(f"{case.name}: {error}") from error


@pytest.mark.parametrize("nan_policy", NAN_POLICIES)
@pytest.mark.parametrize("where", WHERE)
def test_by_the_formulas(where, nan_policy):
    for case in cases(where, nan_policy, torch.float64):
        leaves, wide = case.leaves(), case.leaves(torch.float64)
        with forward_ad.dual_level():
            y, first, second = gradients(lambda *t: case.mine(*t, running=case.frozen()), leaves, finite(case.g), finite(case.u))
        right, right_first, right_second = gradients(case.definition, wide, finite(case.g), finite(case.u))
        try:
            oracle.assert_close(y, right)
            assert_gradients(first, right_first, torch.float64)
            assert_gradients(second, right_second, torch.float64, second=True)
        except AssertionError as error:
            raise AssertionError(f"{case.name}: {error}") from error


@pytest.mark.parametrize("nan_policy", ["propagate", "omit"])
@pytest.mark.parametrize("where", WHERE)
def test_by_differences(where, nan_policy):
    for case in itertools.islice(cases(where, nan_policy, torch.float64), WHERE.index(where), None, 5):
        def f(*leaves):
            return finite(case.mine(*leaves, running=case.frozen()))

        assert gradcheck(f, case.leaves(), fast_mode=True), case.name
        if case.statistics == "own" or case.weight is not None or case.activation is not None:
            assert gradgradcheck(f, case.leaves(), fast_mode=True), case.name


def test_the_count():
    legal = len(WHERE) * len(NAN_POLICIES) * len(FORMATS) * len(PARAMETERS) * len(ACTIVATIONS) * len(STATISTICS)
    assert legal == 1620 == sum(1 for w in WHERE for p in NAN_POLICIES for _ in cases(w, p, torch.float64))
