"""Moments as a value."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import instnorm
from instnorm import Moments


@pytest.fixture
def m(rng) -> Moments:
    return instnorm.moments(rng.standard_normal((3, 4, 50)))


def test_var_and_std_are_numpys(rng):
    x = rng.standard_normal((3, 4, 50))
    m = instnorm.moments(x)
    for ddof in (0, 1, 3):
        np.testing.assert_allclose(m.var(ddof), x.var(-1, ddof=ddof), rtol=1e-13)
        np.testing.assert_allclose(m.std(ddof=ddof), x.std(-1, ddof=ddof), rtol=1e-13)
    assert np.isnan(m.var(50)).all()


def test_merge_is_the_union(rng):
    x = 7 + rng.standard_normal((3, 4, 90))
    whole = instnorm.moments(x)
    merged = Moments.empty(3, 4)
    for piece in np.split(x, [1, 20, 50], axis=-1):
        merged = merged.merge(instnorm.moments(piece))
    np.testing.assert_array_equal(merged.count, whole.count)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-15 * 4)
    np.testing.assert_allclose(merged.m2, whole.m2, rtol=1e-13)


def test_merge_with_nothing_is_exact(m):
    empty = Moments.empty(3, 4)
    assert m.merge(empty) == m and empty.merge(m) == m
    assert empty.merge(empty) == empty


def test_shapes_must_agree(m):
    with pytest.raises(ValueError, match=r"^\[Moments.merge\] shapes differ: \(3, 4\) and \(1, 4\)$"):
        m.merge(Moments.empty(1, 4))
    with pytest.raises(ValueError, match=r"must have one shape \(N, C\), got \(3, 4\), \(3, 4\) and \(4,\)"):
        Moments(m.count, m.mean, m.m2[0])
    with pytest.raises(ValueError, match=r"no such shape: \(-1, 2\)"):
        Moments.empty(-1, 2)
    with pytest.raises(TypeError, match=r"^\[Moments.merge\] other must be instnorm.Moments, got int$"):
        m.merge(3)


def test_equality(m):
    assert m == copy.deepcopy(m)
    assert m != Moments(m.count, m.mean, m.m2 + 1)
    assert m != Moments.empty(4, 3)
    assert m != "moments" and (m == "moments") is False
    nan = Moments([[1.0]], [[np.nan]], [[np.nan]])
    assert nan == copy.copy(nan)
    with pytest.raises(TypeError, match="unhashable"):
        hash(m)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling(m, protocol):
    assert pickle.loads(pickle.dumps(m, protocol)) == m


def test_repr_is_its_constructor(m):
    small = Moments([[4.0, 2.0]], [[0.5, np.nan]], [[0.25, 0.0]])
    assert eval(repr(small), {"Moments": Moments, "nan": np.nan}) == small


def test_any_strides(m):
    x = np.random.default_rng(1).standard_normal((3, 4, 9))
    strided = Moments(np.asfortranarray(m.count), m.mean[:, ::-1][:, ::-1], np.asfortranarray(m.m2))
    np.testing.assert_array_equal(
        instnorm.instance_norm(x, moments=strided), instnorm.instance_norm(x, moments=m)
    )


def test_moments_of_another_dtype_are_refused(m):
    class Half:
        count, mean, m2 = (a.astype(np.float32) for a in (m.count, m.mean, m.m2))

    with pytest.raises(ValueError, match=r"moments must have float64 arrays of shape \(N, C\), got count of float32"):
        instnorm.instance_norm(np.ones((3, 4, 9)), moments=Half())
