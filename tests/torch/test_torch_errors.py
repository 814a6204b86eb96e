"""What PyTorch refuses, ours refuses: with the same exceptions, the same texts, in the same order."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F

import instnorm.torch as it
import torch_oracle as oracle
from instnorm.torch import functional as ours

X = torch.randn(4, 3, 5)


def outcome(f, *args, **kwargs):
    """What it raised and warned of; the shape and dtype of the result if it raised nothing."""
    args = [a.clone() if isinstance(a, torch.Tensor) and not a.is_sparse else a for a in args]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            y = f(*args, **kwargs)
            end = ("returned", y.shape, y.dtype)
        except Exception as error:
            # Behind the first line PyTorch may show where in its C++ it was.
            end = (type(error), str(error).split("\nException raised from")[0])
    return end, [(w.category, str(w.message)) for w in caught]


def same(*args, **kwargs):
    found, expected = (outcome(f, *args, **kwargs) for f in (ours.instance_norm, F.instance_norm))
    assert found == expected
    return expected[0]


ones, zeros = torch.ones, torch.zeros
BAD = {
    "length 1": (torch.randn(2, 3, 1),),
    "length 1, eval": (torch.randn(2, 3, 1), zeros(3), ones(3), None, None, False),
    "rank 0": (torch.tensor(1.0),),
    "rank 1": (torch.randn(3),),
    "rank 2": (torch.randn(2, 3),),
    "rank 2, eval": (torch.randn(2, 3), zeros(3), ones(3), None, None, False),
    "rank 1, eval": (torch.randn(3), zeros(3), ones(3), None, None, False),
    "spatial product 1": (torch.randn(2, 3, 1, 1),),
    "no running statistics, eval": (X, None, None, None, None, False),
    "only running_mean, eval": (X, zeros(3), None, None, None, False),
    "only running_mean": (X, zeros(3)),
    "only running_var": (X, None, ones(3)),
    "weight of 4": (X, None, None, ones(4)),
    "weight of 1": (X, None, None, ones(1)),
    "weight 3-d": (X, None, None, ones(1, 3, 1)),
    "weight 0-d": (X, None, None, torch.tensor(1.0)),
    "weight 0-d, one channel": (X[:, :1], None, None, torch.tensor(1.0)),
    "bias of 4": (X, None, None, None, ones(4)),
    "running_mean of 4": (X, zeros(4), ones(3)),
    "running_var of 4": (X, zeros(3), ones(4)),
    "two wrong sizes": (X, zeros(5), ones(3), ones(4)),
    "running of 4, eval": (X, zeros(4), ones(4), None, None, False),
    "expanded running_mean": (X, zeros(1).expand(3), ones(3)),
    "expanded running_mean, eval": (X, zeros(1).expand(3), ones(3), None, None, False),
    "int input": (torch.ones(2, 3, 4, dtype=torch.int64),),
    "int32 input": (torch.ones(2, 3, 4, dtype=torch.int32),),
    "bool input": (torch.ones(2, 3, 4, dtype=torch.bool),),
    "complex input": (torch.ones(2, 3, 4, dtype=torch.complex64),),
    "float8 input": (torch.ones(2, 3, 4).to(torch.float8_e4m3fn),),
    "sparse input": (torch.randn(2, 3, 4).to_sparse(),),
    "meta weight": (X, None, None, ones(3, device="meta")),
    "meta input": (X.to("meta"), None, None, ones(3)),
    "flag not bool": (X, None, None, None, None, 1),
    "momentum None": (X, None, None, None, None, True, None),
    "momentum a string": (X, None, None, None, None, True, "a"),
    "momentum 1-d": (X, None, None, None, None, True, torch.tensor([0.1])),
    "momentum 0-d": (X, None, None, None, None, True, torch.tensor(0.1)),
    "momentum True": (X, None, None, None, None, True, True),
    "eps None": (X, None, None, None, None, True, 0.1, None),
    "eps int": (X, None, None, None, None, True, 0.1, 0),
    "eps nan": (X, None, None, None, None, True, 0.1, float("nan")),
    "eps negative": (X, None, None, None, None, True, 0.1, -2.0),
    "input None": (None,),
    "input a list": ([[[1.0, 2.0]]],),
    "input an array": (X.numpy(),),
    "weight a list": (X, None, None, [1.0, 1.0, 1.0]),
    "weight an array": (X, None, None, X[0, :, 0].numpy()),
    "running require grad": (X, zeros(3, requires_grad=True), ones(3)),
    "running require grad, eval": (X, zeros(3, requires_grad=True), ones(3), None, None, False),
    "empty, wrong weight": (torch.zeros(2, 3, 0), None, None, ones(4)),
    "empty, int": (torch.zeros(2, 3, 0, dtype=torch.int64),),
}


@pytest.mark.parametrize("name", BAD)
def test_arguments(name):
    same(*BAD[name])


def test_what_the_list_above_contains():
    ends = [same(*arguments) for arguments in BAD.values()]
    assert sum(end[0] == "returned" for end in ends) in range(8, 20)


FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("tracked", [None, torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [None, *FLOATS])
@pytest.mark.parametrize("weight", [None, *FLOATS])
@pytest.mark.parametrize("x", FLOATS)
def test_every_combination_of_dtypes(x, weight, bias, tracked):
    if not oracle.NEW and tracked not in (None, weight or x):
        pytest.skip("this PyTorch refuses running statistics of another dtype")
    w, b = (None if t is None else ones(3, dtype=t) for t in (weight, bias))
    mean, var = (None, None) if tracked is None else (zeros(3, dtype=tracked), ones(3, dtype=tracked))
    same(X.to(x), mean, var, w, b)
    if tracked is not None:
        same(X.to(x), mean, var, w, b, False)


@oracle.newer
@pytest.mark.parametrize("buffers", [torch.int64, torch.bool, torch.float64, torch.float16])
def test_buffers_of_other_dtypes_get_what_pytorch_gives_them(buffers):
    mine, theirs = ([zeros(3, dtype=buffers), ones(3, dtype=buffers)] for _ in range(2))
    ours.instance_norm(X * 10 + 7, *mine)
    F.instance_norm(X * 10 + 7, *theirs)
    for a, b in zip(mine, theirs):
        torch.testing.assert_close(a, b)


def test_one_buffer_for_both():
    mine, theirs = torch.ones(3), torch.ones(3)
    torch.testing.assert_close(ours.instance_norm(X, mine, mine), F.instance_norm(X, theirs, theirs))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("error", ["length 1", "weight of 4", "only running_mean", "int input", "eps None"])
def test_nothing_is_written_when_something_is_wrong(error):
    mean, var = zeros(3), ones(3)
    arguments = list(BAD[error]) + [None] * (3 - len(BAD[error]))
    arguments[1], arguments[2] = mean, (None if error == "only running_mean" else var)
    outcome(ours.instance_norm, *arguments)
    assert not mean.any() and bool((var == 1).all())


@pytest.mark.parametrize("constructor", oracle.available([
    dict(num_features=3), dict(num_features=3, affine=True), dict(num_features=3, track_running_stats=True),
    dict(num_features=3, affine=True, bias=False), dict(num_features=3, momentum=None, track_running_stats=True),
    dict(num_features=3, affine=True, track_running_stats=True),
]), ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4, 5), (4, 5, 6), (5, 6), (4, 3, 1), (3, 1), (2, 3, 8), (3, 8), (2, 3, 0)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_the_layer(constructor, shape, training):
    layers = [cls(**constructor).train(training) for cls in (it.InstanceNorm1d, torch.nn.InstanceNorm1d)]
    found, expected = (outcome(layer, torch.randn(shape)) for layer in layers)
    assert found == expected


@pytest.mark.parametrize("x", [None, [1.0], X.numpy()], ids=["None", "list", "array"])
def test_the_layer_given_no_tensor(x):
    found, expected = (outcome(cls(3), x) for cls in (it.InstanceNorm1d, torch.nn.InstanceNorm1d))
    assert found == expected


@pytest.mark.parametrize("flags", [(True, False), (False, True)])
def test_a_layer_whose_flag_was_switched(flags):
    def step(cls):
        layer = cls(3, track_running_stats=flags[0], momentum=0.5)
        layer.track_running_stats = flags[1]
        ends = [outcome(layer, X), outcome(layer.eval(), X)]
        return ends, {k: v.clone() for k, v in layer.state_dict().items()}

    (found, state), (expected, right) = step(it.InstanceNorm1d), step(torch.nn.InstanceNorm1d)
    assert found == expected
    torch.testing.assert_close(state, right)


@pytest.mark.parametrize("arguments", [
    dict(num_features=-1, affine=True), dict(num_features=2.5, affine=True), dict(num_features="max"), dict(),
    dict(num_features=3, wrong=1),
], ids=str)
def test_constructors(arguments):
    def build(cls):
        try:
            return repr(cls(**arguments))
        except Exception as error:
            # Python says whose __init__ it was.
            return type(error), str(error).split("__init__")[-1]

    assert build(it.InstanceNorm1d) == build(torch.nn.InstanceNorm1d)


@pytest.mark.parametrize("arguments, error, text", [
    (dict(nan_policy="drop"), ValueError, "nan_policy"),
    (dict(data_format="NHWC"), ValueError, "data_format"),
    (dict(activation="tanh"), ValueError, "activation"),
    (dict(lengths=torch.ones(4)), ValueError, "lengths must be int32 or int64"),
    (dict(lengths=[1, 2, 3, 4]), TypeError, "lengths must be a tensor"),
    (dict(lengths=torch.ones(4, dtype=torch.int64), mask=torch.ones(4, 5, dtype=torch.bool)), ValueError, "give one of them"),
    (dict(weight=torch.ones(2, 3)), ValueError, "weight must have shape"),
    (dict(weight=torch.ones(4), weight_offset=1.0), RuntimeError, "weight should contain 12 elements not 16"),
    (dict(weight=torch.ones(3).double(), weight_offset=1.0), RuntimeError, "expect parameter to have scalar type"),
    (dict(moments=it.Moments.empty(4, 2)), ValueError, "moments must have shape"),
    (dict(moments=it.Moments.empty(4, 3), use_input_stats=False), ValueError, "give one of them"),
])
def test_extras(arguments, error, text):
    if "NotImplementedError" in str(outcome(ours.instance_norm, X, **arguments)[0][0]):
        pytest.skip("the kernels do not have this option yet")
    with pytest.raises(error, match=text):
        ours.instance_norm(X, **arguments)
