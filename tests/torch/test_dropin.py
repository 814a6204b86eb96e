"""PyTorch's own samples for instance_norm, through ours and through PyTorch's."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("expecttest", reason="PyTorch's samples need the package expecttest")

from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.testing._internal.common_modules import module_db  # noqa: E402

import instnorm.torch as it  # noqa: E402
import torch_oracle as oracle  # noqa: E402
from instnorm.torch import functional as ours  # noqa: E402

OP = next(op for op in op_db if op.name == "nn.functional.instance_norm")
MODULE = next(m for m in module_db if m.module_cls is torch.nn.InstanceNorm1d)


def samples(dtype, requires_grad=False):
    return list(OP.sample_inputs("cpu", dtype, requires_grad=requires_grad))


def name_arguments(sample):
    """The sample as keyword arguments of instance_norm, on copies."""
    kwargs = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in sample.kwargs.items()}
    names = ("running_mean", "running_var", "weight", "bias")
    kwargs.update({n: a.clone() for n, a in zip(names, sample.args) if a is not None})
    return sample.input.clone(), kwargs


@pytest.mark.parametrize("dtype", oracle.FLOATS)
def test_op_samples_have_the_reference_values_and_pytorchs_form(dtype):
    assert samples(dtype)
    for sample in samples(dtype):
        x, kwargs = name_arguments(sample)
        _, theirs = name_arguments(sample)
        before = {k: kwargs[k].clone() for k in ("running_mean", "running_var") if k in kwargs}
        y, like = ours.instance_norm(x, **kwargs), F.instance_norm(x, **theirs)
        assert (y.shape, y.dtype, y.stride(), y.device) == (like.shape, like.dtype, like.stride(), like.device)
        eps, stats = kwargs.get("eps", 1e-5), None
        if not kwargs.get("use_input_stats", True):
            stats = kwargs["running_mean"], kwargs["running_var"]
        expected = oracle.exact(x, kwargs.get("weight"), kwargs.get("bias"), eps, stats)
        oracle.assert_close(y, expected)
        if before and kwargs.get("use_input_stats", True):
            updated = oracle.running(x, before["running_mean"], before["running_var"], kwargs.get("momentum", 0.1))
            for name, value in zip(("running_mean", "running_var"), updated):
                oracle.assert_close(kwargs[name], value)
                assert kwargs[name]._version == theirs[name]._version


def gradient_samples():
    for sample in samples(torch.float64, requires_grad=True):
        tensors, names = [sample.input], ["input"]
        constants = {}
        for name, a in [*zip(("running_mean", "running_var", "weight", "bias"), sample.args), *sample.kwargs.items()]:
            if isinstance(a, torch.Tensor) and a.requires_grad:
                tensors.append(a)
                names.append(name)
            else:
                constants[name] = a

        def f(input, *rest, names=names[1:], constants=constants):
            fresh = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in constants.items()}
            return ours.instance_norm(input, **fresh, **dict(zip(names, rest)))

        yield f, tuple(tensors)


def test_op_samples_pass_gradcheck_and_gradgradcheck():
    """Along random directions: element by element test_gradients does it, on smaller inputs."""
    for f, tensors in gradient_samples():
        assert torch.autograd.gradcheck(f, tensors, check_forward_ad=True, fast_mode=True)
        assert torch.autograd.gradgradcheck(
            f, tensors, check_fwd_over_rev=True, gen_non_contig_grad_outputs=True, fast_mode=True
        )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_module_samples_give_the_reference_values(dtype, training):
    inputs = MODULE.module_inputs_func(
        MODULE, device="cpu", dtype=dtype, requires_grad=True, training=training
    )
    assert inputs
    for sample in inputs:
        args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
        mine, theirs = it.InstanceNorm1d(*args, **kwargs), torch.nn.InstanceNorm1d(*args, **kwargs)
        assert repr(mine) == repr(theirs)
        theirs.to(dtype).train(training), mine.to(dtype).train(training)
        x = sample.forward_input.args[0]
        y, like = mine(x), theirs(x)
        assert (y.shape, y.dtype, y.stride()) == (like.shape, like.dtype, like.stride())
        rows = x if x.dim() == 3 else x[None]
        stats = (mine.running_mean, mine.running_var) if mine.track_running_stats and not training else None
        expected = oracle.normalize(rows, mine.weight, mine.bias, mine.eps, stats).reshape(x.shape)
        exact = oracle.exact(rows, mine.weight, mine.bias, mine.eps, stats).reshape(x.shape)
        oracle.assert_close(y, exact)
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(mine.state_dict()[name], value)
        cotangent = torch.randn_like(y)
        (g,) = torch.autograd.grad(y, x, cotangent)
        (h,) = torch.autograd.grad(expected, x, cotangent.double())
        oracle.assert_gradient(g, h.double())


def modules(dtype, training):
    """Each of PyTorch's module samples: ours, PyTorch's, and an input that requires grad."""
    classes = it.InstanceNorm1d, torch.nn.InstanceNorm1d
    for sample in MODULE.module_inputs_func(
        MODULE, device="cpu", dtype=dtype, requires_grad=True, training=training
    ):
        args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
        layers = [cls(*args, **kwargs).to(dtype).train(training) for cls in classes]
        yield *layers, sample.forward_input.args[0]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_module_samples_in_16_bits(dtype, training):
    """PyTorch keeps the statistics of these in 16 bits: near the reference, not near it."""
    for mine, theirs, x in modules(dtype, training):
        y, like = mine(x), theirs(x)
        assert (y.shape, y.dtype, y.stride()) == (like.shape, like.dtype, like.stride())
        rows = x if x.dim() == 3 else x[None]
        stats = (mine.running_mean, mine.running_var) if mine.track_running_stats and not training else None
        oracle.assert_close(y, oracle.exact(rows, mine.weight, mine.bias, mine.eps, stats).reshape(x.shape))
        y.float().sum().backward()
        assert x.grad.dtype == dtype


@pytest.mark.parametrize("training", [True, False])
def test_module_samples_with_any_strides_and_second_derivatives(training):
    """TestModule's non_contiguous_tensors, grad, gradgrad and if_train_and_eval_modes_differ."""
    for mine, _, x in modules(torch.float64, training):
        y = mine(x)
        strided = torch.stack([x.detach(), x.detach()], -1)[..., 0].requires_grad_()
        assert not strided.is_contiguous()
        torch.testing.assert_close(mine(strided), y, rtol=0, atol=0)
        g = torch.stack([torch.randn_like(y)] * 2, -1)[..., 0]
        gradients = torch.autograd.grad(mine(strided), strided, g), torch.autograd.grad(y, x, g.contiguous())
        torch.testing.assert_close(*gradients, rtol=0, atol=0)
        assert torch.autograd.gradcheck(mine, x, fast_mode=True)
        if training or not mine.track_running_stats:
            assert torch.autograd.gradgradcheck(mine, x, fast_mode=True)
        other = mine.train(not training)(x)
        assert torch.equal(other, y) != mine.track_running_stats


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("track", [False, True])
def test_pytorchs_own_tests_of_the_layer(affine, track):
    """What test_nn.py asserts of it."""
    x = torch.randn(4, 5, 9) * 2 + 3
    norm = it.InstanceNorm1d(5, eps=0, affine=affine, track_running_stats=track, momentum=1)
    y = norm(x)
    torch.testing.assert_close(y.mean(2), torch.zeros(4, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(2, unbiased=False), torch.ones(4, 5), atol=1e-5, rtol=0)
    if track:
        torch.testing.assert_close(norm.running_mean, x.mean((0, 2)))
        torch.testing.assert_close(norm.running_var, x.var(2).mean(0))
        norm.eval()
        shift = torch.arange(5.0)
        moved = norm(x + norm.running_var.sqrt()[:, None] * shift[:, None])
        torch.testing.assert_close(moved.mean((0, 2)), shift, atol=1e-5, rtol=0)
    else:
        norm.eval()
        torch.testing.assert_close(norm(x), y)


@pytest.mark.parametrize("dtype", oracle.FLOATS)
@pytest.mark.parametrize("parameter_dtype", [None, torch.float32])
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_every_dtype_keeps_the_promise(dtype, parameter_dtype, mean):
    x = (torch.randn(3, 4, 700) + mean).to(dtype)
    w = b = None
    if parameter_dtype is not None:
        p = torch.float64 if dtype == torch.float64 else parameter_dtype
        w, b = torch.randn(4, dtype=p), torch.randn(4, dtype=p)
    oracle.assert_close(ours.instance_norm(x, weight=w, bias=b), oracle.exact(x, w, b))


LAYOUTS = {
    "transposed": lambda: torch.randn(3, 50, 4).transpose(1, 2),
    "sliced": lambda: torch.randn(3, 8, 120)[:, ::2, 7::3],
    "offset": lambda: torch.randn(3 * 4 * 50 + 1)[1:].view(3, 4, 50),
    "expanded": lambda: torch.randn(1, 4, 50).expand(3, 4, 50),
    "flipped": lambda: torch.randn(4, 3, 50).permute(1, 0, 2),
    "4d channels last": lambda: torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last),
    "5d": lambda: torch.randn(2, 3, 4, 5, 6),
    "negative": lambda: torch._neg_view(torch.randn(3, 4, 50)),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("grad", [False, True])
def test_every_layout_gives_a_contiguous_fresh_result(name, grad):
    x = LAYOUTS[name]()
    leaf = x.detach().requires_grad_(grad)
    y = ours.instance_norm(leaf)
    assert y.is_contiguous() and y.storage_offset() == 0 and y.requires_grad == grad
    assert y.untyped_storage().nbytes() == y.numel() * 4 and y.untyped_storage().resizable()
    oracle.assert_close(y, oracle.exact(x))


@st.composite
def calls(draw):
    """An input of any rank, strides and dtype, and options, as keyword arguments."""
    dtype = draw(st.sampled_from(oracle.FLOATS))
    rest = [st.integers(1, 9)] * draw(st.integers(1, 3))
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 5), *rest))
    if torch.Size(shape[2:]).numel() == 1:
        shape = (*shape[:-1], 2)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.integers(1, 3)) for _ in shape]
    # Memory with gaps, in any order of dimensions.
    room = torch.randn([shape[i] * steps[i] for i in order], generator=generator)
    x = room[tuple(slice(None, None, steps[i]) for i in order)]
    x = x.permute([order.index(i) for i in range(len(shape))])
    x = (x * draw(st.sampled_from([1e-3, 1.0, 30.0])) + draw(st.sampled_from([0.0, 1.0, -30.0]))).to(dtype)
    if draw(st.booleans()):
        x = x[:1].expand(shape)
    c = shape[1]
    options = {"eps": draw(st.sampled_from([1e-5, 0.1])), "momentum": draw(st.sampled_from([0.1, 1.0, 0.0]))}
    if draw(st.booleans()):
        options["weight"] = torch.randn(c, generator=generator).to(dtype)
    if draw(st.booleans()):
        options["bias"] = torch.randn(c, generator=generator).to(dtype)
    if draw(st.booleans()):
        options["running_mean"] = torch.randn(c, generator=generator).to(dtype)
        options["running_var"] = (torch.rand(c, generator=generator) + 0.5).to(dtype)
        options["use_input_stats"] = draw(st.booleans())
    return x, options


@settings(max_examples=200, deadline=None)
@given(call=calls())
def test_any_call_is_right_and_has_pytorchs_form(call):
    x, options = call
    mine, theirs = copy.deepcopy(options), copy.deepcopy(options)
    y, like = ours.instance_norm(x, **mine), F.instance_norm(x, **theirs)
    assert (y.shape, y.dtype, y.stride()) == (like.shape, like.dtype, like.stride())
    evaluating = not options.get("use_input_stats", True)
    stats = (options["running_mean"], options["running_var"]) if evaluating else None
    expected = oracle.exact(x, options.get("weight"), options.get("bias"), options["eps"], stats)
    # As good as promised, or no further than PyTorch.
    try:
        oracle.assert_close(y, expected)
    except AssertionError:
        assert (y.double() - expected).abs().max() <= (like.double() - expected).abs().max()
    if "running_mean" in options and not evaluating:
        momentum = options["momentum"]
        updated = oracle.running(x, options["running_mean"], options["running_var"], momentum)
        # The statistics of a row are right relative to its spread.
        var = x.double().flatten(2).var(2, unbiased=True).max().item()
        for name, value, spread in zip(("running_mean", "running_var"), updated, (var**0.5, 2 * var)):
            oracle.assert_close(mine[name], value, 1 + momentum * spread)


@pytest.mark.parametrize("n, c, length", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 3, 1)])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_empty_inputs_do_what_pytorchs_do(n, c, length, affine, track, training):
    mine = it.InstanceNorm1d(c, affine=affine, track_running_stats=track).train(training)
    theirs = torch.nn.InstanceNorm1d(c, affine=affine, track_running_stats=track).train(training)
    x = torch.zeros(n, c, length)
    outcome = []
    for module in (mine, theirs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                outcome.append(module(x).shape)
            except (IndexError, ValueError, RuntimeError) as error:
                outcome.append((type(error), str(error)))
    assert outcome[0] == outcome[1]
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value, equal_nan=True)


def test_the_same_training_as_pytorchs():
    """50 steps of Adam on the same model, data and start: the same losses."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv1d(2, 8, 5),
        torch.nn.InstanceNorm1d(8, affine=True, track_running_stats=True),
        torch.nn.ReLU(inplace=True),
        torch.nn.Conv1d(8, 8, 5),
        torch.nn.GroupNorm(8, 8),
        torch.nn.GELU(),
        torch.nn.Conv1d(8, 2, 1),
    ).double()
    x, target = torch.randn(4, 2, 60).double(), torch.randn(4, 2, 52).double()

    def losses(model):
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        found = []
        for _ in range(50):
            optimizer.zero_grad()
            loss = (model(x) - target).square().mean()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    theirs = losses(copy.deepcopy(model))
    mine = losses(it.convert(model))
    assert mine[-1] < 0.8 * mine[0]
    # A difference of 1e-15 grows in Adam's first steps by 1 / sqrt(eps), no further.
    torch.testing.assert_close(torch.tensor(mine), torch.tensor(theirs), rtol=1e-8, atol=0)
