"""The functions against the textbook definition and PyTorch, for all dtypes, shapes and strides."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import optional
from reference import DTYPES, assert_close, moments, normalize

import instnorm

torch = optional("torch")

SHAPES = [(3, 40), (1, 7), (2, 3, 40), (20, 10, 41), (5, 1, 2), (1, 1, 5000), (2, 3, 4, 5), (2, 2, 3, 2, 5)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_textbook_definition(rng, shape, dtype):
    x = (3 + rng.standard_normal(shape)).astype(dtype)
    y = instnorm.instance_norm(x)
    assert y.dtype == dtype and y.flags.c_contiguous
    assert_close(y, normalize(x))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("wide_params", [False, True])
@pytest.mark.parametrize("per_instance", [False, True])
def test_weight_bias_and_offset(rng, dtype, wide_params, per_instance):
    x = rng.standard_normal((4, 3, 50)).astype(dtype)
    shape = (4, 3) if per_instance else (3,)
    params = np.float32 if wide_params and dtype.itemsize == 2 else dtype
    w, b = (rng.standard_normal(shape).astype(params) for _ in range(2))
    assert_close(instnorm.instance_norm(x, weight=w), normalize(x, w))
    assert_close(instnorm.instance_norm(x, bias=b), normalize(x, bias=b))
    assert_close(
        instnorm.instance_norm(x, weight=w, bias=b, eps=0.3, weight_offset=1.0),
        normalize(x, w, b, 0.3, 1.0),
    )


def test_positional_order_is_pytorchs(rng):
    x = rng.standard_normal((4, 3, 50))
    ours = [rng.standard_normal(3), rng.random(3), rng.standard_normal(3), rng.standard_normal(3)]
    theirs = [torch.from_numpy(a.copy()) for a in ours]
    for use_input_stats in (True, False):
        y = instnorm.instance_norm(x, *ours, use_input_stats, 0.3, 1e-3)
        z = torch.nn.functional.instance_norm(
            torch.from_numpy(x), *theirs, use_input_stats, 0.3, 1e-3
        )
        np.testing.assert_allclose(y, z.numpy(), rtol=0, atol=1e-13)
        for mine, other in zip(ours, theirs):
            np.testing.assert_allclose(mine, other.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_running_statistics_normalise_in_eval(rng, dtype):
    x = rng.standard_normal((4, 3, 50)).astype(dtype)
    mean, var = rng.standard_normal(3).astype(dtype), (1 + rng.random(3)).astype(dtype)
    before = mean.copy(), var.copy()
    for array in (mean, var):
        array.flags.writeable = False
    y = instnorm.instance_norm(x, mean, var, use_input_stats=False)
    assert_close(y, normalize(x, statistics=(mean[np.newaxis], var[np.newaxis])))
    assert (mean == before[0]).all() and (var == before[1]).all()


def _views(rng, dtype):
    """Arrays of one shape, (4, 3, 10), laid out in every way that NumPy has."""
    base = rng.standard_normal((9, 7, 40)).astype(dtype)
    yield "sliced", base[:4, 1:7:2, 3:33:3]
    yield "reversed", base[7:3:-1, 2::-1, 9::-1]
    yield "transposed", base.reshape(-1)[:120].reshape(10, 3, 4).T
    yield "fortran", np.asfortranarray(base[:4, :3, :10])
    yield "channels last", base.reshape(-1)[:120].reshape(4, 10, 3).transpose(0, 2, 1)
    yield "expanded over n", np.broadcast_to(base[0, :3, :10], (4, 3, 10))
    yield "expanded over c", np.broadcast_to(base[:4, :1, :10], (4, 3, 10))
    yield "off by one element", base.reshape(-1)[1:121].reshape(4, 3, 10)
    record = np.zeros((4, 3, 10), [("a", dtype), ("b", dtype)])
    record["b"] = base[:4, :3, :10]
    yield "field of a record", record["b"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_views_give_what_their_copies_give(rng, dtype):
    w = rng.standard_normal(12).astype(dtype)[::4]
    for name, view in _views(rng, dtype):
        same = np.ascontiguousarray(view)
        y = instnorm.instance_norm(view, weight=w)
        assert y.flags.c_contiguous
        np.testing.assert_array_equal(y, instnorm.instance_norm(same, weight=w.copy()), name)
        assert instnorm.moments(view) == instnorm.moments(same), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_out_of_any_strides_and_in_place(rng, dtype):
    x = rng.standard_normal((4, 3, 10)).astype(dtype)
    expected = instnorm.instance_norm(x)
    for name, out in _views(rng, dtype):
        if "expanded" in name:
            continue
        assert instnorm.instance_norm(x, out=out) is out
        np.testing.assert_array_equal(out, expected, name)
        out[...] = x
        assert instnorm.instance_norm(out, out=out) is out
        np.testing.assert_array_equal(out, expected, name)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 5),
    c=st.integers(1, 5),
    length=st.integers(2, 200),
    mean=st.floats(-1e4, 1e4),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_and_mean(n, c, length, mean, dtype, seed):
    rng = np.random.default_rng(seed)
    x = (mean + rng.standard_normal((n, c, length))).astype(dtype)
    y, m = instnorm.instance_norm(x, return_moments=True)
    assert_close(y, normalize(x))
    assert m == instnorm.moments(x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_moments(rng, dtype):
    x = (5 + rng.standard_normal((3, 4, 100))).astype(dtype)
    m = instnorm.moments(x)
    mean, m2 = moments(x)
    assert m.count.shape == (3, 4) and (m.count == 100).all()
    # Statistics are in float64, of sums that are in float32 or better: 2^-24 of one value each.
    tolerance = 1e-12 if dtype == np.float64 else 2.0**-22
    np.testing.assert_allclose(m.mean, mean.astype(np.float64), rtol=tolerance)
    np.testing.assert_allclose(m.m2, m2.astype(np.float64), rtol=tolerance)
    assert instnorm.moments(x[0]).mean.shape == (1, 4)
    assert instnorm.moments(x[0]).mean.tolist() == m.mean[:1].tolist()


def test_given_moments_normalise(rng):
    x, other = rng.standard_normal((2, 3, 4, 100))
    m = instnorm.moments(other)
    y, used = instnorm.instance_norm(x, moments=m, return_moments=True)
    mean, m2 = moments(other)
    assert_close(y, normalize(x, statistics=(mean, m2 / 100)))
    assert used == m


@pytest.mark.parametrize("params", ["", "w", "b", "wb", "WB"])
@pytest.mark.parametrize("rank2", [False, True])
def test_gradients_are_autograds(rng, params, rank2):
    shape = (3, 30) if rank2 else (4, 3, 30)
    x, g = rng.standard_normal(shape), rng.standard_normal(shape)
    n = 1 if rank2 else 4
    size = (n, 3) if "W" in params else (3,)
    w = rng.standard_normal(size) if "w" in params.lower() else None
    b = rng.standard_normal(size) if "b" in params.lower() else None
    _, m = instnorm.instance_norm(x, weight=w, bias=b, return_moments=True)
    got = instnorm.instance_norm_backward(g, x, m, w, b)

    tensors = [None if a is None else torch.from_numpy(a).requires_grad_() for a in (x, w, b)]
    tx, tw, tb = tensors
    rows = tx.reshape(n, 3, 30)
    centred = rows - rows.mean(-1, keepdim=True)
    y = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)
    if tw is not None:
        y = y * tw[..., None]
    if tb is not None:
        y = y + tb[..., None]
    y.backward(torch.from_numpy(g.reshape(n, 3, 30)))
    for mine, tensor in zip(got, tensors):
        if tensor is None:
            assert mine is None
        else:
            np.testing.assert_allclose(mine, tensor.grad.numpy(), rtol=0, atol=1e-12)


def test_gradients_with_constant_statistics(rng):
    x, g = rng.standard_normal((2, 4, 3, 30))
    w = rng.standard_normal(3)
    m = instnorm.moments(rng.standard_normal((4, 3, 9)))
    gx, gw, gb = instnorm.instance_norm_backward(g, x, m, w, use_input_stats=False, weight_offset=1.0)
    rstd = 1 / np.sqrt(m.var() + 1e-5)[..., np.newaxis]
    np.testing.assert_allclose(gx, (w + 1)[:, np.newaxis] * rstd * g, rtol=1e-13)
    xhat = (x - m.mean[..., np.newaxis]) * rstd
    np.testing.assert_allclose(gw, (g * xhat).sum((0, 2)), rtol=1e-12)
    assert gb is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_denormalize_is_the_way_back(rng, dtype):
    x = (2 + rng.standard_normal((4, 3, 30))).astype(dtype)
    w, b = (1 + rng.random((2, 3))).astype(dtype)
    y, m = instnorm.instance_norm(x, weight=w, bias=b, weight_offset=0.5, return_moments=True)
    out = np.empty_like(x)
    back = instnorm.denormalize(y, m, w, b, weight_offset=0.5, out=out)
    assert back is out
    np.testing.assert_allclose(back, x, rtol=0, atol=20 * np.finfo(dtype).eps * np.abs(x).max())
    assert instnorm.denormalize(y, m, w, b, weight_offset=0.5, out=y) is y
    np.testing.assert_array_equal(y, back)


def test_denormalize_divides_by_a_weight_of_zero_as_ieee_does():
    m = instnorm.Moments([[2.0]], [[0.0]], [[2.0]])
    x = instnorm.denormalize(np.array([[1.0, 0.0, -1.0]]), m, np.array([0.0]))
    np.testing.assert_array_equal(x, [[np.inf, np.nan, -np.inf]])


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5), (2, 3, 0), (0, 4)], ids=str)
def test_empty_arrays(shape):
    x = np.empty(shape, np.float32)
    assert instnorm.instance_norm(x, weight=np.ones(shape[-2], np.float32)).shape == shape
    assert instnorm.moments(x).count.shape == (shape[0] if len(shape) == 3 else 1, shape[-2])


def test_results_do_not_depend_on_threads(rng):
    x = rng.standard_normal((64, 64, 300)).astype(np.float32)
    before = instnorm.get_num_threads()
    try:
        results = []
        for k in (1, 2, 5):
            instnorm.set_num_threads(k)
            assert instnorm.get_num_threads() == k
            results.append(instnorm.instance_norm(x))
    finally:
        instnorm.set_num_threads(before)
    for y in results[1:]:
        np.testing.assert_array_equal(y, results[0])


def test_float16_and_bfloat16_keep_their_statistics_wide(rng):
    # 1000 is 8 units in the last place of bfloat16 away from 1008: a mean in 16 bits would be off.
    x = (1000 + 8 * rng.integers(-3, 4, (2, 3, 500))).astype(ml_dtypes.bfloat16)
    assert_close(instnorm.instance_norm(x), normalize(x))
