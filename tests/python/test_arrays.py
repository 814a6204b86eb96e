"""Arrays of every kind come in, and come back as their own."""

from __future__ import annotations

import gc
import sys
import weakref

import ml_dtypes
import numpy as np
import pytest
from optional import optional

import instnorm

jax, jnp, torch = map(optional, ("jax", "jax.numpy", "torch"))

DTYPES = ["float16", "bfloat16", "float32", "float64"]


def values(array) -> np.ndarray:
    if hasattr(array, "detach"):
        return array.to(torch.float64).numpy()
    return np.asarray(array).astype(np.float64)


class Wrapped:
    """An array of a framework of its own, which speaks DLPack alone: version 1, or none."""

    def __init__(self, array: np.ndarray, versioned: bool = True) -> None:
        self.array = array
        self.versioned = versioned

    def __dlpack__(self, **options):
        if not self.versioned and options:
            raise TypeError("no options before version 1")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __array_namespace__(self):
        return Framework


class Nowhere:
    """An array of a framework that makes none of others': this file."""

    def __init__(self, array: np.ndarray) -> None:
        self.__dlpack_device__ = array.__dlpack_device__
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


class Framework:
    @staticmethod
    def from_dlpack(array) -> Wrapped:
        return Wrapped(np.from_dlpack(array))


@pytest.mark.parametrize("name", DTYPES)
def test_torch_tensors(rng, name):
    base = torch.from_numpy(rng.standard_normal((4, 6, 40))).to(getattr(torch, name))
    for x in (base, base[:, ::2], base[..., 1:], base.transpose(1, 2), base[0], base[:1].expand(3, 6, 40)):
        y = instnorm.instance_norm(x)
        assert type(y) is torch.Tensor and y.dtype == x.dtype and y.is_contiguous()
        same = x.contiguous().to(torch.float64).numpy().astype(
            ml_dtypes.bfloat16 if name == "bfloat16" else name
        )
        np.testing.assert_array_equal(values(y), values(instnorm.instance_norm(same)))


def test_torch_out_parameters_and_gradients(rng):
    x = torch.from_numpy(rng.standard_normal((4, 3, 40)))
    w, b = torch.from_numpy(rng.standard_normal((2, 3)))
    mean, var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    out = torch.empty(4, 40, 3, dtype=torch.float64).transpose(1, 2)
    y, m = instnorm.instance_norm(x, mean, var, w, b, out=out, return_moments=True)
    assert y is out and isinstance(m.mean, np.ndarray)
    torch.testing.assert_close(
        out, torch.nn.functional.instance_norm(x, None, None, w, b), rtol=0, atol=1e-13
    )
    assert mean.abs().min() > 0
    gx, gw, gb = instnorm.instance_norm_backward(torch.ones_like(x), x, m, w, b)
    assert all(type(a) is torch.Tensor for a in (gx, gw, gb))
    assert type(instnorm.denormalize(y, m, w, b)) is torch.Tensor


def test_torch_results_own_their_memory(rng):
    y = instnorm.instance_norm(torch.from_numpy(rng.standard_normal((4, 3, 40))))
    kept = y.clone()
    view = y[1]
    del y
    gc.collect()
    churn = [instnorm.instance_norm(torch.randn(4, 3, 40)) for _ in range(50)]
    torch.testing.assert_close(view, kept[1], rtol=0, atol=0)
    assert len(churn) == 50


def test_plain_subclasses_of_tensor_are_tensors(rng):
    class Tagged(torch.Tensor):
        pass

    x = torch.from_numpy(rng.standard_normal((3, 40)))
    parameter = torch.nn.Parameter(x, requires_grad=False)
    for like in (x.as_subclass(Tagged), parameter):
        np.testing.assert_array_equal(instnorm.instance_norm(like), instnorm.instance_norm(x))


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_jax_arrays(rng, name):
    x = jnp.asarray(rng.standard_normal((4, 3, 40)), name)
    w = jnp.asarray([1.0, 2.0, 3.0], name)
    y, m = instnorm.instance_norm(x, weight=w, return_moments=True)
    assert isinstance(y, jax.Array) and y.dtype == x.dtype
    host = np.asarray(x), np.asarray(w)
    np.testing.assert_array_equal(np.asarray(y), instnorm.instance_norm(host[0], weight=host[1]))
    gx, gw, _ = instnorm.instance_norm_backward(x, x, m, w)
    assert isinstance(gx, jax.Array) and isinstance(gw, jax.Array)


def test_jax_arrays_that_are_still_being_computed():
    @jax.jit
    def slow(a):
        return jax.lax.fori_loop(0, 60, lambda _, b: jnp.sin(b @ b) + 1e-3, a)

    a = jnp.ones((300, 300), jnp.float32) * 1e-2
    y = instnorm.instance_norm(slow(a))
    np.testing.assert_array_equal(np.asarray(y), instnorm.instance_norm(np.asarray(slow(a))))


@pytest.mark.parametrize("versioned", [True, False])
def test_any_framework_that_speaks_dlpack(rng, versioned):
    array = rng.standard_normal((4, 40, 3)).transpose(0, 2, 1)
    y = instnorm.instance_norm(Wrapped(array, versioned))
    assert isinstance(y, Wrapped)
    np.testing.assert_array_equal(y.array, instnorm.instance_norm(array))


def test_a_framework_without_from_dlpack_needs_out(rng):
    array = rng.standard_normal((4, 3, 40))
    with pytest.raises(TypeError, match="whose framework has no from_dlpack, Nowhere: give out="):
        instnorm.instance_norm(Nowhere(array))
    out = np.empty_like(array)
    np.testing.assert_array_equal(
        instnorm.instance_norm(Nowhere(array), out=out), instnorm.instance_norm(array)
    )


def test_writing_through_dlpack_needs_its_permission(rng):
    x = rng.standard_normal((4, 3, 40))
    out = np.empty_like(x)
    wrapped = Wrapped(out)
    assert instnorm.instance_norm(x, out=wrapped) is wrapped
    np.testing.assert_array_equal(out, instnorm.instance_norm(x))
    for refused in (Wrapped(out, versioned=False), jnp.asarray(x, jnp.float32)):
        with pytest.raises(ValueError, match=r"\[instance_norm\] out must be writable"):
            instnorm.instance_norm(x, out=refused)


def test_kinds_mix_and_the_input_decides(rng):
    x = rng.standard_normal((4, 3, 40)).astype(np.float32)
    w = rng.standard_normal(3).astype(np.float32)
    expected = instnorm.instance_norm(x, weight=w)
    mixed = instnorm.instance_norm(torch.from_numpy(x), weight=jnp.asarray(w))
    assert type(mixed) is torch.Tensor
    np.testing.assert_array_equal(mixed.numpy(), expected)
    out = torch.empty(4, 3, 40)
    assert instnorm.instance_norm(x, weight=torch.from_numpy(w), out=out) is out
    np.testing.assert_array_equal(out.numpy(), expected)


def test_subclasses_of_ndarray_give_plain_arrays(rng, tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, rng.standard_normal((4, 3, 40)))
    mapped = np.load(file, mmap_mode="r")
    y = instnorm.instance_norm(mapped)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, instnorm.instance_norm(np.array(mapped)))


@pytest.mark.parametrize("kind", ["numpy", "torch", "jax"])
def test_nothing_is_kept(rng, kind):
    make = {"numpy": np.array, "torch": torch.tensor, "jax": jnp.asarray}[kind]
    x = make(rng.standard_normal((4, 3, 40)).astype(np.float32))
    w = make(np.ones(3, np.float32))
    counts = sys.getrefcount(x), sys.getrefcount(w)
    for _ in range(5):
        instnorm.instance_norm(x, weight=w)
        with pytest.raises(ValueError):
            instnorm.instance_norm(x, weight=x)
    gc.collect()
    assert (sys.getrefcount(x), sys.getrefcount(w)) == counts
    y = instnorm.instance_norm(x)
    alive = weakref.ref(y)
    del y
    gc.collect()
    assert alive() is None
