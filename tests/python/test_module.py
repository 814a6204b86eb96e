"""InstanceNorm1d against torch.nn.InstanceNorm1d."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings

import ml_dtypes
import numpy as np
import pytest
from optional import optional, pytorchs_layer

import instnorm
from instnorm import InstanceNorm1d

torch = optional("torch")

FLAGS = [
    {"affine": affine, "track_running_stats": track, "bias": bias}
    for affine, track, bias in itertools.product((False, True), repeat=3)
]


def pair(num_features: int, **options) -> tuple[InstanceNorm1d, torch.nn.InstanceNorm1d]:
    """The two layers with the same random state."""
    theirs = pytorchs_layer(num_features, dtype=torch.float64, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            if name != "num_batches_tracked":
                tensor.copy_(torch.rand(num_features, generator=generator))
    ours = InstanceNorm1d(num_features, dtype=np.float64, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("shape", [(3, 20), (4, 3, 20)], ids=str)
def test_is_pytorchs_in_both_modes(rng, flags, shape):
    ours, theirs = pair(3, eps=1e-3, momentum=0.3, **flags)
    for training in (True, False, True):
        ours.train(training)
        theirs.train(training)
        x = rng.standard_normal(shape)
        y = ours(x)
        np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach(), rtol=0, atol=1e-13)
        expected = theirs.state_dict()
        assert list(ours.state_dict()) == list(expected)
        for name, array in ours.state_dict().items():
            np.testing.assert_allclose(array, expected[name].numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_repr_is_pytorchs(flags):
    theirs = repr(pytorchs_layer(3, 1e-3, None, **flags))
    if "bias" not in theirs:
        pytest.skip("this PyTorch's layer has no argument bias")
    assert repr(InstanceNorm1d(3, 1e-3, None, **flags)) == theirs


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, np.float32),
        ("float16", np.float16),
        ("bfloat16", ml_dtypes.bfloat16),
        (ml_dtypes.bfloat16, ml_dtypes.bfloat16),
        (float, np.float64),
    ],
)
def test_dtype(dtype, expected):
    norm = InstanceNorm1d(3, affine=True, track_running_stats=True, dtype=dtype)
    assert norm.dtype == np.dtype(expected)
    for name, array in norm.state_dict().items():
        assert array.dtype == (np.int64 if name == "num_batches_tracked" else norm.dtype)
    assert norm(np.ones((2, 3, 9), expected)).dtype == norm.dtype


def test_layer_without_arrays_takes_any_dtype(rng):
    for dtype in (np.float16, np.float32, np.float64):
        assert InstanceNorm1d(3)(rng.standard_normal((2, 3, 9)).astype(dtype)).dtype == dtype


def test_out_and_other_kinds(rng):
    x = rng.standard_normal((2, 3, 9)).astype(np.float32)
    norm = InstanceNorm1d(3, affine=True)
    y = norm(x)
    assert type(norm(torch.from_numpy(x))) is torch.Tensor
    assert norm(x, out=x) is x
    np.testing.assert_array_equal(x, y)


def test_wrong_inputs():
    norm = InstanceNorm1d(3, affine=True)
    with pytest.raises(ValueError, match=r"^expected 2D or 3D input \(got 4D input\)$"):
        norm(np.ones((1, 3, 4, 4), np.float32))
    with pytest.raises(ValueError, match=r"^expected 2D or 3D input \(got 1D input\)$"):
        norm(np.ones(3, np.float32))
    for shape, dim in (((2, 4, 9), 1), ((4, 9), 0)):
        with pytest.raises(
            ValueError,
            match=rf"^expected input's size at dim={dim} to match num_features \(3\), but got: 4\.$",
        ):
            norm(np.ones(shape, np.float32))
    with pytest.raises(TypeError, match="input must be an array of NumPy .* got list"):
        norm([[1.0, 2.0]])
    with pytest.raises(ValueError, match="weight must be float32 for a float32 x|got float32"):
        norm(np.ones((2, 3, 9)))


def test_unused_num_features_warn_as_pytorchs_do(rng):
    x = rng.standard_normal((2, 4, 9)).astype(np.float32)
    with warnings.catch_warnings(record=True) as theirs:
        warnings.simplefilter("always")
        torch.nn.InstanceNorm1d(3)(torch.from_numpy(x))
    with pytest.warns(UserWarning) as ours:
        y = InstanceNorm1d(3)(x)
    assert [str(w.message) for w in ours] == [str(w.message) for w in theirs]
    assert ours[0].filename == __file__
    np.testing.assert_array_equal(y, instnorm.instance_norm(x))
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="running_mean must have shape"):
        InstanceNorm1d(3, track_running_stats=True)(x)


def test_wrong_constructions():
    with pytest.raises(ValueError, match="num_features must be at least 0, got -1"):
        InstanceNorm1d(-1)
    with pytest.raises(TypeError):
        InstanceNorm1d(2.5)
    with pytest.raises(ValueError, match="dtype must be float16, bfloat16, float32 or float64, got int64"):
        InstanceNorm1d(3, dtype=np.int64)
    with pytest.raises(ValueError, match="got >f4"):
        InstanceNorm1d(3, dtype=">f4")


def test_momentum_none_leaves_the_running_statistics(rng):
    norm = InstanceNorm1d(3, momentum=None, track_running_stats=True)
    norm(rng.standard_normal((2, 3, 9)).astype(np.float32))
    assert norm.running_mean.tolist() == [0, 0, 0] and norm.running_var.tolist() == [1, 1, 1]


def test_reset(rng):
    norm, _ = pair(3, affine=True, track_running_stats=True)
    arrays = norm.state_dict()
    norm.reset_running_stats()
    assert norm.running_mean.tolist() == [0, 0, 0] and norm.running_var.tolist() == [1, 1, 1]
    assert norm.weight.tolist() != [1, 1, 1]
    norm.reset_parameters()
    assert norm.weight.tolist() == [1, 1, 1] and norm.bias.tolist() == [0, 0, 0]
    assert all(norm.state_dict()[name] is array for name, array in arrays.items())


def test_state_dict_is_interchangeable_with_pytorch(rng):
    ours, theirs = pair(3, affine=True, track_running_stats=True)
    other = torch.nn.InstanceNorm1d(3, affine=True, track_running_stats=True, dtype=torch.float64)
    other.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_load_state_dict_is_strict_and_all_or_nothing():
    norm = InstanceNorm1d(3, affine=True)
    good = {"weight": np.full(3, 2.0), "bias": np.full(3, 3.0)}
    for bad, message in [
        ({"weight": good["weight"]}, "missing bias"),
        ({**good, "extra": np.ones(1)}, "unexpected extra"),
        ({**good, "bias": np.ones(4)}, r"bias must have shape \(3,\), got \(4,\)"),
        ({**good, "running_mean": np.ones(3)}, "from before PyTorch 0.4"),
        ({}, "missing weight, bias"),
    ]:
        with pytest.raises(ValueError, match=rf"^\[InstanceNorm1d.load_state_dict\] .*{message}"):
            norm.load_state_dict(bad)
        assert norm.weight.tolist() == [1, 1, 1]
    norm.load_state_dict(good)
    assert norm.weight.tolist() == [2, 2, 2] and norm.weight.dtype == np.float32
    tracked = InstanceNorm1d(1, track_running_stats=True)
    tracked.load_state_dict({"running_mean": [5.0], "running_var": [6.0]})
    assert tracked.running_var.tolist() == [6.0]


@pytest.mark.parametrize("remake", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_whole_and_apart(rng, remake):
    norm, _ = pair(3, affine=True, track_running_stats=True, eps=0.5)
    norm.eval()
    same = remake(norm)
    assert repr(same) == repr(norm) and same.training is False
    x = rng.standard_normal((2, 3, 9))
    np.testing.assert_array_equal(same(x), norm(x))
    same.weight[:] = 9
    assert norm.weight.tolist() != same.weight.tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_files(tmp_path, rng, flags, dtype):
    norm = InstanceNorm1d(3, dtype=dtype, **flags)
    for name, array in norm.state_dict().items():
        array[...] = 7 if name == "num_batches_tracked" else rng.random(3)
    path = tmp_path / "norm.safetensors"
    norm.save(path)
    same = InstanceNorm1d(3, dtype=dtype, **flags)
    same.load(str(path))
    assert same.state_dict().keys() == norm.state_dict().keys()
    for name, array in norm.state_dict().items():
        np.testing.assert_array_equal(same.state_dict()[name], array)
        assert same.state_dict()[name].dtype == array.dtype

    theirs = pytorchs_layer(3, dtype=getattr(torch, dtype), **flags)
    theirs.load_state_dict(optional("safetensors.torch").load_file(path))
    theirs.eval()
    x = torch.from_numpy(rng.standard_normal((2, 3, 9))).to(getattr(torch, dtype))
    torch.testing.assert_close(norm.eval()(x), theirs(x).detach(), rtol=2e-2, atol=2e-2)


def test_files_that_do_not_fit(tmp_path):
    path = tmp_path / "norm.safetensors"
    norm = InstanceNorm1d(3, affine=True)
    with pytest.raises(FileNotFoundError):
        norm.load(path)
    InstanceNorm1d(4, affine=True, bias=False).save(path)
    with pytest.raises(ValueError, match="missing .bias.*weight must have shape"):
        norm.load(path)
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        norm.load(path)
    assert norm.weight.tolist() == [1, 1, 1]
    with pytest.raises(OSError, match="cannot read .*: Is a directory"):
        norm.load(tmp_path)
    with pytest.raises(OSError, match="cannot write"):
        norm.save(tmp_path / "no such folder" / "norm.safetensors")
    norm.weight = np.ones(4, np.float32)
    with pytest.raises(ValueError, match=r"weight must be float32 of shape \(3,\), got float32 \(4,\)"):
        norm.save(path)


def test_train_and_eval_return_the_layer():
    norm = InstanceNorm1d(3)
    assert norm.eval() is norm and norm.training is False
    assert norm.train() is norm and norm.training is True
