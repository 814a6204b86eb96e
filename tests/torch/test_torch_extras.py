"""lengths, mask, nan_policy, data_format, activation, per-instance parameters, moments.

Every combination is run by the kernels, by the formulas (under a transform), and compiled, and
compared with plain loops over rows.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import instnorm.torch as it
import torch_oracle as oracle
from instnorm.torch import functional as ours

N, C, L = 3, 4, 7
ACTIVATIONS = {
    None: lambda z: z,
    "relu": torch.relu,
    "leaky_relu": lambda z: torch.where(z > 0, z, 0.01 * z),
    "gelu": lambda z: z * 0.5 * (1 + torch.erf(z / 2**0.5)),
    "gelu_tanh": lambda z: 0.5 * z * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + torch.exp(-z)),
}


def by_rows(
    x, weight=None, bias=None, eps=1e-5, there=None, omit=False, weight_offset=0.0, activation=None, moments=None,
):
    """The definition, row by row and value by value, on (N, C, L) in float64; differentiable."""
    rows = []
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            row = x[n, c]
            valid = torch.ones_like(row, dtype=torch.bool) if there is None else there.expand_as(x)[n, c]
            counted = valid & ~row.isnan() if omit else valid
            values = row[counted]
            scale = 1.0 if weight is None else (weight[n, c] if weight.dim() == 2 else weight[c]) + weight_offset
            shift = 0.0 if bias is None else (bias[n, c] if bias.dim() == 2 else bias[c])
            if moments is not None:
                count, mean = moments.count[n, c], moments.mean[n, c]
                var = moments.m2[n, c] / count.clamp(min=1)
            else:
                count = torch.tensor(float(len(values)))
                mean = values.mean() if len(values) else 0.0
                var = ((values - mean) ** 2).mean() if len(values) else torch.tensor(0.0)
            if count < 2 or (var == 0 and eps == 0):
                z = 0 * values.nan_to_num() * scale + shift
            else:
                z = (values - mean) / torch.sqrt(var + eps) * scale + shift
            y = torch.where(valid & row.isnan(), float("nan"), 0.0).to(x.dtype) if omit else torch.zeros_like(row)
            rows.append(y.masked_scatter(counted, ACTIVATIONS[activation](z)))
    return torch.stack(rows).reshape(x.shape)


def lengths_as_mask(lengths):
    return (torch.arange(L) < lengths[:, None])[:, None]


def case(seed, lengths, mask, nan_policy, per_instance, parameters):
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, arguments, there = randn(N, C, L), {}, None
    if lengths:
        arguments["lengths"] = torch.randint(0, L + 1, (N,), generator=generator)
        there = lengths_as_mask(arguments["lengths"])
    elif mask:
        shape = {1: (N, L), 2: (N, 1, L), 3: (N, C, L)}[mask]
        arguments["mask"] = torch.rand(shape, generator=generator) < 0.6
        there = arguments["mask"][:, None] if mask == 1 else arguments["mask"]
    if there is not None:
        # What lies in the padding must not matter.
        x = torch.where(there, x, float("inf") if seed % 2 else float("nan"))
    if nan_policy == "omit":
        arguments["nan_policy"] = "omit"
        x = torch.where(torch.rand(N, C, L, generator=generator) < 0.2, float("nan"), x)
    shape = (N, C) if per_instance else (C,)
    if "w" in parameters:
        arguments["weight"] = randn(*shape)
    if "b" in parameters:
        arguments["bias"] = randn(*shape)
    return x, arguments, there


cases = st.builds(
    case,
    seed=st.integers(0, 10**6),
    lengths=st.booleans(),
    mask=st.sampled_from([0, 0, 1, 2, 3]),
    nan_policy=st.sampled_from(["propagate", "omit"]),
    per_instance=st.booleans(),
    parameters=st.sampled_from(["", "w", "b", "wb"]),
)


def layouts(x, arguments, data_format):
    """The same case with channels last."""
    if data_format == "NCL":
        return x, arguments
    changed = {**arguments, "data_format": "NLC"}
    if arguments.get("mask") is not None and arguments["mask"].dim() == 3:
        changed["mask"] = arguments["mask"].transpose(1, 2)
    return x.transpose(1, 2).contiguous(), changed


def gradients(f, x, arguments, cotangent, retain=False):
    inputs = {"input": x, **{k: arguments[k] for k in ("weight", "bias") if k in arguments}}
    inputs = {k: v.detach().requires_grad_() for k, v in inputs.items()}
    y = f(**{**arguments, **inputs})
    return (y, *torch.autograd.grad(y, list(inputs.values()), cotangent))


@settings(max_examples=150, deadline=None)
@given(
    case=cases,
    data_format=st.sampled_from(["NCL", "NLC"]),
    activation=st.sampled_from(list(ACTIVATIONS)),
    weight_offset=st.sampled_from([0.0, 1.0]),
    way=st.sampled_from(["kernels", "formulas"]),
)
def test_values_and_gradients(case, data_format, activation, weight_offset, way):
    x, arguments, there = case
    options = dict(activation=activation, weight_offset=weight_offset)
    plain = {k: v for k, v in arguments.items() if k not in ("lengths", "mask", "nan_policy")}

    def definition(input, **given):
        return by_rows(input, there=there, omit="nan_policy" in arguments, **{**plain, **given}, **options)

    cotangent = torch.randn(N, C, L, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if there is not None:
        cotangent = torch.where(there, cotangent, float("nan"))
    reached = torch.where(by_rows(x, there=there, omit="nan_policy" in arguments).isnan(), 0.0, cotangent)
    expected = gradients(lambda input, **k: definition(input, **{n: v for n, v in k.items() if n in ("weight", "bias")}), x, arguments, reached.nan_to_num())

    shaped, changed = layouts(x, arguments, data_format)
    g = cotangent if data_format == "NCL" else cotangent.transpose(1, 2)

    def f(**k):
        if way == "kernels":
            return ours.instance_norm(**k, **options)
        with torch.autograd.forward_ad.dual_level():
            return ours.instance_norm(**k, **options)

    found = list(gradients(f, shaped, changed, g))
    assert found[0].is_contiguous()
    if data_format == "NLC":
        found[0], found[1] = found[0].transpose(1, 2), found[1].transpose(1, 2)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_eval_with_lengths_takes_every_row_as_ordinary():
    x, mean, var = torch.randn(N, C, L), torch.randn(C), torch.rand(C) + 0.5
    lengths = torch.tensor([L, 1, 0])
    y = ours.instance_norm(x, mean, var, use_input_stats=False, lengths=lengths)
    expected = oracle.exact(x, statistics=(mean, var)) * lengths_as_mask(lengths)
    oracle.assert_close(y, expected)


@pytest.mark.parametrize("way", ["kernels", "formulas"])
def test_running_statistics_leave_short_rows_out(way):
    x = torch.randn(4, 2, L).double()
    lengths = torch.tensor([L, 1, 3, 0])
    mean, var = torch.tensor([1.0, 2.0]).double(), torch.tensor([3.0, 4.0]).double()
    expected = [
        0.25 * torch.stack([x[0].mean(1), x[2, :, :3].mean(1)]).mean(0) + 0.75 * mean,
        0.25 * torch.stack([x[0].var(1), x[2, :, :3].var(1)]).mean(0) + 0.75 * var,
    ]
    nothing = mean.clone()
    if way == "kernels":
        ours.instance_norm(x, mean, var, momentum=0.25, lengths=lengths)
        ours.instance_norm(x, nothing, nothing.clone(), lengths=torch.zeros(4, dtype=torch.int32))
    else:
        with torch.autograd.forward_ad.dual_level():
            ours.instance_norm(x, mean, var, momentum=0.25, lengths=lengths)
            ours.instance_norm(x, nothing, nothing.clone(), lengths=torch.zeros(4, dtype=torch.int32))
    torch.testing.assert_close([mean, var], expected)
    torch.testing.assert_close(nothing, torch.tensor([1.0, 2.0]).double())


def test_nan_policy_raise_looks_at_what_is_there_only():
    x = torch.randn(2, 3, L)
    x[1, 1, 5] = float("nan")
    mean = torch.zeros(3)
    with pytest.raises(ValueError):
        ours.instance_norm(x, mean, torch.ones(3), nan_policy="raise")
    assert not mean.any()
    y = ours.instance_norm(x, nan_policy="raise", lengths=torch.tensor([7, 5]))
    assert not y.isnan().any()


def test_values_of_lengths_are_checked():
    for wrong in (L + 1, -1):
        with pytest.raises(ValueError, match="lengths must be from 0 to"):
            ours.instance_norm(torch.randn(1, 2, L), lengths=torch.tensor([wrong]))


def test_rows_of_one_value():
    x = torch.randn(2, 3, 1)
    bias = torch.tensor([1.0, 2.0, 3.0])
    expected = bias[:, None].expand(2, 3, 1)
    torch.testing.assert_close(ours.instance_norm(x, bias=bias, lengths=torch.tensor([1, 1])), expected)
    torch.testing.assert_close(ours.instance_norm(x, bias=bias, nan_policy="omit"), expected)
    torch.testing.assert_close(ours.instance_norm(x, bias=bias, moments=it.Moments.empty(2, 3)), expected)
    with pytest.raises(ValueError, match="Expected more than 1 spatial element"):
        ours.instance_norm(x, activation="relu")


@pytest.mark.parametrize("second_order", [False, True])
def test_given_moments_are_differentiable(second_order):
    x, w, b = oracle.leaf(2, 3, L), oracle.leaf(3), oracle.leaf(3)
    mean, m2 = oracle.leaf(2, 3), (torch.rand(2, 3, dtype=torch.float64) + 1).requires_grad_()
    count = torch.tensor([[5.0, 1.0, 7.0], [0.0, 2.0, 3.0]]).double()

    def f(x, w, b, mean, m2):
        return ours.instance_norm(x, weight=w, bias=b, moments=it.Moments(count, mean, m2))

    check = torch.autograd.gradgradcheck if second_order else torch.autograd.gradcheck
    assert check(f, (x, w, b, mean, m2))
    torch.testing.assert_close(f(x, w, b, mean, m2), by_rows(x, w, b, moments=it.Moments(count, mean, m2)))


@pytest.mark.parametrize("activation", [None, "silu"])
def test_given_constant_moments(activation):
    """By the kernels; rows of fewer than 2 values have the bias, and no gradient but its own."""
    x, w, b = oracle.leaf(2, 3, L), oracle.leaf(3), oracle.leaf(3)
    m = it.Moments(torch.tensor([[5.0, 1.0, 7.0], [0.0, 2.0, 3.0]]).double(), torch.randn(2, 3).double(), torch.rand(2, 3).double() + 1)
    mine = ours.instance_norm(x, weight=w, bias=b, moments=m, activation=activation)
    expected = by_rows(x, w, b, moments=m, activation=activation)
    torch.testing.assert_close(mine, expected)
    g = torch.randn_like(mine)
    torch.testing.assert_close(torch.autograd.grad(mine, (x, w, b), g), torch.autograd.grad(expected, (x, w, b), g))


def test_returned_moments_are_differentiable():
    x, w = oracle.leaf(2, 3, L), oracle.leaf(3)

    def f(x, w):
        y, m = ours.instance_norm(x, weight=w, return_moments=True)
        return y, m.mean, m.m2

    assert torch.autograd.gradcheck(f, (x, w))
    assert torch.autograd.gradgradcheck(f, (x, w))
    y, m = ours.instance_norm(x, return_moments=True)
    assert isinstance(m, it.Moments) and not m.count.requires_grad
    torch.testing.assert_close(m.var(), x.var(2, unbiased=False))
    mean, var = torch.zeros(3).double(), torch.ones(3).double()
    _, m = ours.instance_norm(x, mean, var, use_input_stats=False, return_moments=True)
    torch.testing.assert_close((m.mean, m.var()), (mean.expand(2, 3), var.expand(2, 3)))


def test_per_instance_parameters_without_other_extras():
    x, w, b = oracle.leaf(2, 3, L), oracle.leaf(2, 3), oracle.leaf(2, 3)

    def f(x, w, b):
        return ours.instance_norm(x, weight=w, bias=b)

    torch.testing.assert_close(f(x, w, b), by_rows(x, w, b))
    assert torch.autograd.gradcheck(f, (x, w, b), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, (x, w, b))


def test_rank_2_with_extras_is_one_instance():
    x = torch.randn(3, L)
    y, m = ours.instance_norm(x, return_moments=True)
    torch.testing.assert_close(y, F.instance_norm(x[None])[0])
    assert m.count.shape == (1, 3)
    torch.testing.assert_close(ours.instance_norm(x.t(), data_format="NLC"), y.t())


@pytest.mark.parametrize("extra", [
    dict(lengths=torch.tensor([4, 7])), dict(mask=torch.rand(2, 3, L) < 0.5), dict(activation="gelu"),
    dict(nan_policy="omit"), dict(data_format="NLC"), dict(weight_offset=1.0), dict(moments=it.Moments(*(torch.full((2, 3), 2.0).double(),) * 3)),
], ids=lambda e: next(iter(e)))
def test_compiled(extra):
    torch.compiler.reset()
    x = torch.randn(2, 3, 3 if "data_format" in extra else L, requires_grad=True)
    w, b = torch.rand(3, requires_grad=True), torch.rand(3, requires_grad=True)
    mean, var = torch.zeros(3), torch.ones(3)

    def f(x, w, b, mean, var):
        return ours.instance_norm(x, mean, var, w, b, **extra)

    y, (mean2, var2) = f(x, w, b, mean.clone(), var.clone()), (mean.clone(), var.clone())
    compiled = torch.compile(f, backend="aot_eager", fullgraph=True)(x, w, b, mean2, var2)
    torch.testing.assert_close(compiled, y, rtol=0, atol=0)
    f(x, w, b, mean, var)
    torch.testing.assert_close((mean2, var2), (mean, var), rtol=1e-6, atol=1e-6)
    g = torch.randn_like(y)
    torch.testing.assert_close(torch.autograd.grad(compiled, (x, w, b), g), torch.autograd.grad(y, (x, w, b), g), rtol=0, atol=0)


def test_elsewhere_the_extras_are_computed_by_pytorchs_operations():
    x = torch.empty(2, 3, L, device="meta")
    y = ours.instance_norm(x, lengths=torch.tensor([3, 4], device="meta"), activation="gelu")
    assert y.device.type == "meta" and y.shape == x.shape


@pytest.mark.parametrize("layer", ["instance", "group"])
def test_layers_take_lengths_and_mask(layer):
    norm = it.InstanceNorm1d(C, affine=True) if layer == "instance" else it.convert(torch.nn.GroupNorm(C, C))
    x, lengths = torch.randn(N, C, L), torch.tensor([7, 4, 1])
    expected = by_rows(x.double(), norm.weight.double(), norm.bias.double(), there=lengths_as_mask(lengths)).float()
    torch.testing.assert_close(norm(x, lengths), expected)
    torch.testing.assert_close(norm(x, mask=lengths_as_mask(lengths)), expected)
    torch.testing.assert_close(norm(x, lengths=lengths, mask=None), expected)
    # A row of one value has no variance, and no error.
    assert norm(x[..., :1], torch.ones(N, dtype=torch.int64)).shape == (N, C, 1)
    with pytest.raises(ValueError):
        norm(torch.randn(N, C), lengths) if layer == "group" else norm(torch.randn(N, C + 1, L), lengths)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_layer_with_options(activation):
    norm = it.InstanceNorm1d(C, data_format="NLC", activation=activation)
    x = torch.randn(N, L, C)
    expected = by_rows(x.double().transpose(1, 2), activation=activation).transpose(1, 2).float()
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm(x[0]), expected[0])
    torch.testing.assert_close(norm(x[0], mask=torch.ones(1, L, dtype=torch.bool)), expected[0])
    with pytest.warns(UserWarning, match="input's size at dim=2 does not match num_features"):
        norm(torch.randn(N, L, C + 1))
    with pytest.raises(ValueError, match="expected input's size at dim=1 to match num_features \\(4\\), but got: 7."):
        it.InstanceNorm1d(C, affine=True, data_format="NLC")(torch.randn(C, L))
    lazy = it.LazyInstanceNorm1d(data_format="NLC")
    assert lazy(x, torch.tensor([7, 3, 2])).shape == x.shape and lazy.num_features == C
