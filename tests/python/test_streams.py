"""A signal in pieces has the moments of the whole; docs/numerics.md says how nearly, and what has the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import DTYPES

import instnorm

C = 2
U = 2.0**-53  # of double


def merged(x, cuts, order=None):
    """The moments of the pieces of x (N, C, L) between the cuts, merged."""
    edges = [0, *sorted(cuts), x.shape[-1]]
    pieces = [instnorm.moments(x[..., a:b]) for a, b in zip(edges, edges[1:])]
    m = instnorm.Moments.empty(*x.shape[:2])
    for i in order or range(len(pieces)):
        m = m.merge(pieces[i])
    return m


def apart(found, right):
    """Of means in units of |mean| + std, and of m2 relatively: the largest."""
    assert found.count.tolist() == right.count.tolist()
    of_mean = np.abs(found.mean - right.mean) / (np.abs(right.mean) + right.std())
    return max(of_mean.max(), np.abs(found.m2 / right.m2 - 1).max())


def cuts_of(data, length):
    # Among them are equal ones, whose pieces are empty, and neighbours, whose pieces are one value.
    return data.draw(st.lists(st.integers(0, length), max_size=40))


# A piece's mean is rounded to double, and what a merge makes of it: a difference of means is off by
# 2 u |mean| for each piece so far, and m2 by twice that in units of std (Cauchy and Schwarz).
def merges_bound(pieces, whole):
    return 4 * (pieces + 1) * U * (2 + (np.abs(whole.mean) / whole.std()).max())


@settings(max_examples=200, deadline=None)
@given(data=st.data(), length=st.integers(3, 6000), offset=st.sampled_from([0.0, 1.0, 3.0, 1e3, 1e6]))
def test_any_pieces_of_a_float64_signal(data, length, offset):
    rng = np.random.default_rng(length)
    x = offset + rng.standard_normal((1, C, length))
    x[..., 0] += 1  # no constant row, whatever the numbers are
    cuts = cuts_of(data, length)
    order = data.draw(st.permutations(range(len(cuts) + 1)))
    whole = instnorm.moments(x)
    ordinary = (np.abs(whole.mean) <= 3 * whole.std()).all()
    bound = 1e-12 if ordinary else max(1e-12, merges_bound(len(cuts) + 1, whole))
    assert apart(merged(x, cuts), whole) <= bound
    assert apart(merged(x, cuts, order), whole) <= bound


@settings(max_examples=50, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), blocks=st.integers(1, 6), rest=st.integers(0, 100))
def test_pieces_of_whole_blocks_of_any_signal(data, dtype, blocks, rest):
    """Their sums are the same bits as in the whole: only merges round, in double."""
    block = 2048 if dtype == np.float64 else 4096
    x = np.random.default_rng(blocks).standard_normal((1, C, blocks * block + rest)).astype(dtype)
    cuts = [block * k for k in data.draw(st.sets(st.integers(1, blocks)))]
    assert apart(merged(x, cuts), instnorm.moments(x)) <= 1e-12


@settings(max_examples=100, deadline=None)
@given(data=st.data(), length=st.integers(3, 9000))
def test_any_pieces_of_a_float32_signal(data, length):
    """Blocks that begin elsewhere are summed with other roundings: 37 of them at most, of float32."""
    x = np.random.default_rng(length).standard_normal((1, C, length)).astype(np.float32)
    x[..., 0] += 1
    # As float64 they are near again.
    cuts = cuts_of(data, length)
    assert apart(merged(x, cuts), instnorm.moments(x)) <= 2 * 37 * 2.0**-24
    assert apart(merged(x.astype(np.float64), cuts), instnorm.moments(x.astype(np.float64))) <= 1e-12


@settings(max_examples=100, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), length=st.integers(1, 9000))
def test_a_piece_by_given_moments_has_the_bits_of_the_whole(data, dtype, length):
    x = (3 + np.random.default_rng(length).standard_normal((1, C, length))).astype(dtype)
    m = instnorm.moments(np.random.default_rng(1).standard_normal((1, C, 50)))
    whole = instnorm.instance_norm(x, moments=m, activation="silu")
    back = instnorm.denormalize(x, m)
    edges = [0, *sorted(cuts_of(data, length)), length]
    for a, b in zip(edges, edges[1:]):
        piece = instnorm.instance_norm(x[..., a:b], moments=m, activation="silu")
        assert piece.tobytes() == whole[..., a:b].tobytes()
        assert instnorm.denormalize(x[..., a:b], m).tobytes() == back[..., a:b].tobytes()


def test_a_whole_signal_as_one_piece_has_the_same_bits(rng):
    x = rng.standard_normal((2, C, 9000)).astype(np.float32)
    assert merged(x, []) == merged(x, [0, 9000]) == instnorm.moments(x)


def test_pieces_in_torch():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("instnorm.torch").functional
    x = np.random.default_rng(0).standard_normal((1, C, 900))
    whole = instnorm.moments(x)
    m = functional.moments(torch.from_numpy(x[..., :1]))
    for piece in np.split(x[..., 1:], [1, 20, 400], axis=-1):
        m = m.merge(functional.moments(torch.from_numpy(piece)))
    assert apart(instnorm.Moments(*(t.numpy() for t in m)), whole) <= 1e-12
