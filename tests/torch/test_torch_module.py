"""The layer as a torch.nn.InstanceNorm1d: state, files, copies, the lazy form."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import instnorm.torch as it
from torch_oracle import available

KINDS = available([
    dict(), dict(affine=True), dict(affine=True, bias=False), dict(track_running_stats=True),
    dict(affine=True, track_running_stats=True), dict(affine=True, track_running_stats=True, dtype=torch.float64),
])
kinds = pytest.mark.parametrize("kind", KINDS, ids=str)


def trained(layer: torch.nn.Module) -> torch.nn.Module:
    for name, tensor in layer.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 2)
    return layer


@kinds
def test_it_is_one_of_pytorchs(kind):
    mine, theirs = it.InstanceNorm1d(3, **kind), torch.nn.InstanceNorm1d(3, **kind)
    assert isinstance(mine, torch.nn.InstanceNorm1d)
    assert not isinstance(mine, torch.nn.modules.batchnorm._BatchNorm)
    assert repr(mine) == repr(theirs)
    public = [[k for k in vars(m) if not k.startswith("_")] for m in (mine, theirs)]
    assert public[0] == public[1]
    assert list(mine._parameters) == list(theirs._parameters) and list(mine._buffers) == list(theirs._buffers)
    assert mine._version == theirs._version == 2 and mine.__constants__ == theirs.__constants__


@kinds
def test_states_go_both_ways(kind):
    mine, theirs = it.InstanceNorm1d(3, **kind), torch.nn.InstanceNorm1d(3, **kind)
    for source, target in ((mine, theirs), (theirs, mine)):
        state = trained(source).state_dict()
        assert list(state) == list(target.state_dict()) and state._metadata == target.state_dict()._metadata
        target.load_state_dict(state)
        for name, value in target.state_dict().items():
            torch.testing.assert_close(value, state[name], rtol=0, atol=0)
        plain = dict(state)  # without versions
        target.load_state_dict(plain)
        target.load_state_dict({k: v.clone() for k, v in state.items()}, assign=True)


def raised(f):
    try:
        f()
    except Exception as error:
        return type(error), str(error)
    return None


@pytest.mark.parametrize("state", [
    {"running_mean": torch.zeros(3), "running_var": torch.ones(3)},
    {"running_mean": torch.zeros(3)},
    {"num_batches_tracked": torch.tensor(1)},
    {"weight": torch.zeros(4)},
    {},
], ids=str)
@kinds
def test_loading_says_what_pytorch_says(state, kind):
    for strict in (True, False):
        found, expected = (raised(lambda: cls(3, **kind).load_state_dict(dict(state), strict=strict)) for cls in (it.InstanceNorm1d, torch.nn.InstanceNorm1d))
        assert found == expected


@kinds
def test_copies_and_files(kind):
    layer = trained(it.InstanceNorm1d(3, **kind)).eval()
    layer.register_forward_hook(print)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(file, weights_only=False)):
        assert type(twin) is it.InstanceNorm1d and repr(twin) == repr(layer) and not twin.training
        for name, value in twin.state_dict().items():
            torch.testing.assert_close(value, layer.state_dict()[name], rtol=0, atol=0)


def test_options_more():
    layer = it.InstanceNorm1d(3, data_format="NLC", activation="gelu_tanh")
    assert repr(layer).endswith("track_running_stats=False, data_format=NLC, activation=gelu_tanh)")
    twin = pickle.loads(pickle.dumps(layer))
    assert (twin.data_format, twin.activation) == ("NLC", "gelu_tanh")
    with pytest.raises(ValueError, match="data_format must be \"NCL\" or \"NLC\", got \"CNL\""):
        it.InstanceNorm1d(3, data_format="CNL")
    with pytest.raises(ValueError, match="activation must be \"relu\", .* or \"silu\", got \"tanh\""):
        it.LazyInstanceNorm1d(activation="tanh")


def test_moving_and_resetting():
    layer = trained(it.InstanceNorm1d(3, affine=True, track_running_stats=True))
    layer.half()
    assert layer.weight.dtype == layer.running_var.dtype == torch.float16
    assert layer.num_batches_tracked.dtype == torch.int64
    weight, mean = layer.weight, layer.running_mean
    layer.reset_parameters()
    assert layer.weight is weight and layer.running_mean is mean
    assert bool((weight == 1).all()) and not mean.any()
    built = torch.nn.utils.skip_init(it.InstanceNorm1d, 3, affine=True)
    assert built.weight.shape == (3,)


@pytest.mark.parametrize(
    "kind", available([dict(), dict(affine=False), dict(track_running_stats=False), dict(bias=False)]), ids=str
)
def test_lazy(kind):
    mine, theirs = it.LazyInstanceNorm1d(**kind), torch.nn.LazyInstanceNorm1d(**kind)
    assert repr(mine) == repr(theirs) and mine.has_uninitialized_params() == theirs.has_uninitialized_params()
    mine = pickle.loads(pickle.dumps(mine))
    x = torch.randn(2, 3, 8)
    torch.testing.assert_close(mine(x), theirs(x))
    assert type(mine) is it.InstanceNorm1d and repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())


def test_lazy_after_a_failing_first_call():
    for cls in (it.LazyInstanceNorm1d, torch.nn.LazyInstanceNorm1d):
        layer = cls()
        with pytest.raises(ValueError, match="Expected more than 1 spatial element"):
            layer(torch.randn(2, 3, 1))
        assert layer.num_features == 3 and isinstance(layer, torch.nn.InstanceNorm1d)
        with pytest.raises(IndexError):
            cls()(torch.randn(3))


def test_lazy_without_anything_to_initialise_stays_without_features():
    layer = it.LazyInstanceNorm1d(affine=False, track_running_stats=False)
    with pytest.warns(UserWarning, match="does not match num_features"):
        layer(torch.randn(2, 3, 8))
    assert layer.num_features == 0


def test_lazy_takes_an_unbatched_first_input():
    # PyTorch takes the length for the number of channels.
    layer = it.LazyInstanceNorm1d()
    assert layer(torch.randn(3, 8)).shape == (3, 8) and layer.num_features == 3


def test_lazy_loads_an_initialised_state():
    state = trained(torch.nn.InstanceNorm1d(3, affine=True, track_running_stats=True)).state_dict()
    layer = it.LazyInstanceNorm1d()
    layer.load_state_dict(state)
    assert layer.weight.shape == (3,) and type(layer) is it.LazyInstanceNorm1d
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized"):
        it.InstanceNorm1d(3, affine=True).load_state_dict(it.LazyInstanceNorm1d(track_running_stats=False).state_dict())


def test_no_warning_but_pytorchs():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        it.InstanceNorm1d(3)(torch.randn(2, 3, 8))
        it.LazyInstanceNorm1d()(torch.randn(2, 3, 8))


def test_pruning():
    mine, theirs = it.InstanceNorm1d(6, affine=True), nn.InstanceNorm1d(6, affine=True)
    with torch.no_grad():
        mine.weight.copy_(torch.arange(1.0, 7.0))
        theirs.load_state_dict(mine.state_dict())
    for layer in (mine, theirs):
        prune.l1_unstructured(layer, "weight", amount=0.5)
    x = torch.randn(2, 6, 50)
    assert mine.weight.eq(0).sum() == 3
    torch.testing.assert_close(mine(x), theirs(x), rtol=1e-5, atol=2e-6)
    mine(x).square().mean().backward()
    theirs(x).square().mean().backward()
    torch.testing.assert_close(mine.weight_orig.grad, theirs.weight_orig.grad, rtol=1e-5, atol=2e-6)
    for layer in (mine, theirs):
        prune.remove(layer, "weight")
    assert list(mine.state_dict()) == list(theirs.state_dict())


def test_autocast_behind_a_convolution():
    conv = nn.Conv1d(3, 6, 5)
    mine, theirs = it.InstanceNorm1d(6, affine=True), nn.InstanceNorm1d(6, affine=True)
    x = torch.randn(2, 3, 80)
    outcomes = []
    for layer in (mine, theirs):
        conv.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            middle = conv(x)
            y = layer(middle)
        y.float().square().mean().backward()
        outcomes.append((middle.dtype, y.dtype, y, conv.weight.grad.clone(), layer.weight.grad))
    (mine_in, mine_out, *values), (their_in, their_out, *wanted) = outcomes
    assert (mine_in, mine_out) == (their_in, their_out)
    for value, want in zip(values, wanted):
        # Two roundings to 8 bits of values up to 4.
        torch.testing.assert_close(value.float(), want.float(), rtol=2**-6, atol=2**-6)


def test_autograd_keeps_the_input_and_no_copy_of_it():
    x = torch.randn(4, 6, 500, requires_grad=True)
    for layer in (it.InstanceNorm1d(6, affine=True), it.InstanceNorm1d(6, affine=True, track_running_stats=True)):
        saved = []

        def keep(tensor, saved=saved):
            saved.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(x).sum().backward()
        large = [t for t in saved if t.numel() >= x.numel()]
        assert large and all(t.data_ptr() == x.data_ptr() for t in large)
