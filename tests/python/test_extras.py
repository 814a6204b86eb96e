"""lengths, mask, nan_policy, data_format, activation, (N, C) parameters, moments: every combination
against the textbook, row by row and value by value."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from optional import optional
from reference import DTYPES, assert_close, wide

import instnorm

torch = optional("torch")

N, C, L = 4, 3, 7
EPS = 1e-5
_erf = np.vectorize(math.erf, otypes=[np.float64])


def _logistic(z):
    return 1 / (1 + np.exp(-z))


ACTIVATIONS = {
    None: lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "gelu": lambda z: z / 2 * (1 + _erf(z.astype(np.float64) / math.sqrt(2))),
    "gelu_tanh": lambda z: z * _logistic(math.sqrt(8 / math.pi) * (z + 0.044715 * z**3)),
    "silu": lambda z: z * _logistic(z),
}
# The same, differentiable.
DIFFERENTIABLE = {
    None: lambda z: z,
    "relu": lambda z: torch.relu(z),
    "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z),
    "gelu": lambda z: torch.nn.functional.gelu(z),
    "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    "silu": lambda z: torch.nn.functional.silu(z),
}
WHERE = ("all", "lengths32", "lengths64", "mask (N, L)", "mask (N, 1, L)", "mask (N, C, L)")
PARAMETERS = ("none", "(C,)", "(N, C)")
BY = ("own", "running", "given")


class Case:
    """One call: its arguments, in its layout, and what is there of (N, C, L)."""

    def __init__(self, dtype, where, omit, data_format, rank2, activation, parameters, by):
        rng = np.random.default_rng(3)
        self.n = n = 1 if rank2 else N
        self.rank2, self.last, self.omit, self.by = rank2, data_format == "NLC", omit, by
        self.activation = activation
        there = np.ones((n, C, L), bool)
        extras = {"nan_policy": "omit"} if omit else {}
        if where.startswith("lengths"):
            lengths = np.array([5, 0, L, 1][:n], np.int32 if where.endswith("32") else np.int64)
            extras["lengths"] = lengths
            there = np.broadcast_to(np.arange(L) < lengths[:, None, None], there.shape)
        elif where.startswith("mask"):
            channels = {"mask (N, L)": 1, "mask (N, 1, L)": 1, "mask (N, C, L)": C}[where]
            mask = rng.random((n, channels, L)) < 0.6
            mask[0, 0] = [False, True] + [False] * (L - 2)  # a row of one value
            there = np.broadcast_to(mask, there.shape)
            if where == "mask (N, L)":
                extras["mask"] = mask[:, 0]
            else:
                extras["mask"] = mask.swapaxes(1, 2) if self.last else mask
        self.x = rng.standard_normal((n, C, L)).astype(dtype)
        if omit:
            self.x[rng.random(self.x.shape) < 0.2] = np.nan
            self.x[0, 1] = np.nan  # a row of none
        self.valid = there
        self.counted = there & ~np.isnan(self.x) if omit else there
        # What is not there is whatever there is.
        self.x[~there] = rng.choice([np.nan, np.inf, -np.inf], (~there).sum())
        self.g = rng.standard_normal(self.x.shape).astype(dtype)
        self.g[~there] = np.nan
        if self.last:
            extras["data_format"] = "NLC"
        if activation is not None:
            extras["activation"] = activation

        narrow = np.dtype(dtype).itemsize == 2
        self.params = np.float32 if narrow else dtype
        shape = (n, C) if parameters == "(N, C)" else (C,)
        self.weight = self.bias = None
        if parameters != "none":
            self.weight = rng.uniform(0.5, 1.5, shape).astype(self.params)
            self.bias = rng.uniform(-1, 1, shape).astype(self.params)
            extras["weight_offset"] = 0.25
        self.running = (rng.uniform(-1, 1, C).astype(self.params), rng.uniform(0.5, 2, C).astype(self.params))
        self.given = None
        if by == "given":
            count = np.array([[0.0, 1.0, 9.0], [2.0, 3.0, 4.0], [5.0, 6.0, 7.0], [8.0, 9.0, 1.0]])[:n]
            self.given = instnorm.Moments(count, rng.uniform(-1, 1, (n, C)), count * rng.uniform(0.5, 2, (n, C)))
        self.extras = extras

    def __str__(self):
        return f"{self.extras}, by {self.by}, {'' if self.weight is None else self.weight.shape}"

    def to_layout(self, v):
        v = v[0] if self.rank2 else v
        return np.ascontiguousarray(v.swapaxes(-1, -2)) if self.last else v

    def from_layout(self, v):
        v = v.swapaxes(-1, -2) if self.last else v
        return v[np.newaxis] if self.rank2 else v

    def arguments(self):
        arguments = {**self.extras, "weight": self.weight, "bias": self.bias, "eps": EPS}
        if self.by == "running":
            arguments |= {"running_mean": self.running[0], "running_var": self.running[1], "use_input_stats": False}
        if self.by == "given":
            arguments["moments"] = self.given
        return arguments

    def own_moments(self):
        """count, mean, m2 of the values that are there."""
        rows = [wide(row[there]) for row, there in zip(self.x.reshape(-1, L), self.counted.reshape(-1, L))]
        count = [len(v) for v in rows]
        mean = [v.mean() if len(v) else 0.0 for v in rows]
        m2 = [((v - v.mean()) ** 2).sum() if len(v) else 0.0 for v in rows]
        return (np.array(v).reshape(self.n, C) for v in (count, mean, m2))

    def statistics(self):
        """mean and rstd of each row; rstd 0 where the row is its bias."""
        if self.by == "running":
            mean, var = (np.broadcast_to(wide(v), (self.n, C)) for v in self.running)
            return mean, 1 / np.sqrt(var + EPS)
        count, mean, m2 = self.own_moments() if self.by == "own" else (self.given.count, self.given.mean, self.given.m2)
        var = m2 / np.maximum(count, 1)
        return wide(mean), np.where(count < 2, 0, 1 / np.sqrt(wide(var) + EPS))

    def parameters(self):
        weight = np.ones((self.n, C)) if self.weight is None else wide(self.weight) + 0.25
        bias = np.zeros((self.n, C)) if self.bias is None else wide(self.bias)
        return np.broadcast_to(weight, (self.n, C)), np.broadcast_to(bias, (self.n, C))

    def expected(self):
        (mean, rstd), (weight, bias) = self.statistics(), self.parameters()
        x = np.where(self.counted, wide(self.x), mean[..., None])
        y = ACTIVATIONS[self.activation]((x - mean[..., None]) * (rstd * weight)[..., None] + bias[..., None])
        return np.where(self.counted, y, np.where(self.valid, np.nan, 0.0))

    def expected_gradients(self):
        """By autograd through the definition."""
        x = torch.from_numpy(np.where(self.counted, self.x, 0.0).astype(np.float64)).requires_grad_()
        there = torch.from_numpy(self.counted.copy())
        w, b = (None if v is None else torch.from_numpy(v.astype(np.float64)).requires_grad_() for v in (self.weight, self.bias))
        y = torch.zeros_like(x)
        mean, rstd = (v.astype(np.float64) for v in self.statistics())
        loss = torch.zeros((), dtype=torch.float64)
        for i, c in itertools.product(range(self.n), range(C)):
            values = x[i, c][there[i, c]]
            if self.by == "own" and len(values) >= 2:
                centred = values - values.mean()
                xhat = centred / torch.sqrt((centred**2).mean() + EPS)
            else:
                xhat = (values - mean[i, c]) * rstd[i, c]
            scale = 1.0 if w is None else (w if w.dim() == 1 else w[i])[c] + 0.25
            shift = 0.0 if b is None else (b if b.dim() == 1 else b[i])[c]
            y = DIFFERENTIABLE[self.activation](xhat * scale + shift)
            g = torch.from_numpy(self.g[i, c].astype(np.float64))[there[i, c]]
            loss = loss + (y * g).sum()
        wanted = [t for t in (x, w, b) if t is not None]
        found = dict(zip(map(id, wanted), torch.autograd.grad(loss, wanted, allow_unused=True)))
        return [None if t is None else found[id(t)].numpy() for t in (x, w, b)]


def cases(dtype, where, omit, by=BY, activations=ACTIVATIONS):
    for data_format, rank2, activation, parameters, statistics in itertools.product(
        ("NCL", "NLC"), (False, True), activations, PARAMETERS, by
    ):
        yield Case(dtype, where, omit, data_format, rank2, activation, parameters, statistics)


def same_or_close(y, expected, case):
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(y), nan, str(case))
    assert_close(np.where(nan, np.zeros((), y.dtype), y), np.where(nan, 0, expected))


@pytest.mark.parametrize("omit", [False, True], ids=["propagate", "omit"])
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values(dtype, where, omit):
    for case in cases(dtype, where, omit):
        x = case.to_layout(case.x)
        before = x.copy()
        y, m = instnorm.instance_norm(x, **case.arguments(), return_moments=True)
        assert x.tobytes() == before.tobytes()
        assert y.dtype == dtype and y.shape == x.shape and y.flags.c_contiguous
        same_or_close(case.from_layout(y), case.expected(), case)
        if case.by == "given":
            assert m == case.given
        elif case.by == "own":
            for got, expected in zip((m.count, m.mean, m.m2), case.own_moments()):
                np.testing.assert_allclose(got, expected.astype(np.float64), rtol=1e-12 if dtype == np.float64 else 2e-6, atol=1e-6)
        # In place it is the same, to the bit.
        assert instnorm.instance_norm(x, **case.arguments(), out=x) is x
        assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("omit", [False, True], ids=["propagate", "omit"])
@pytest.mark.parametrize("where", WHERE)
def test_gradients(where, omit):
    for case in cases(np.float64, where, omit):
        x, g = case.to_layout(case.x), case.to_layout(case.g)
        arguments = case.arguments()
        _, m = instnorm.instance_norm(x, **arguments, return_moments=True)
        for name in ("running_mean", "running_var", "use_input_stats", "moments"):
            arguments.pop(name, None)
        got = instnorm.instance_norm_backward(g, x, m, **arguments, use_input_stats=case.by == "own")
        for mine, expected in zip((case.from_layout(got[0]), *got[1:]), case.expected_gradients()):
            if expected is None:
                assert mine is None
            else:
                assert mine.shape == expected.shape
                # A gradient of up to some tens, of sums of 28 values.
                np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-12, err_msg=str(case))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_have_the_dtypes_of_what_they_belong_to(dtype):
    case = Case(dtype, "lengths64", False, "NLC", False, "gelu", "(N, C)", "own")
    x, g = case.to_layout(case.x), case.to_layout(case.g)
    arguments = case.arguments()
    gx, gw, gb = instnorm.instance_norm_backward(
        g, x, instnorm.moments(x, lengths=arguments["lengths"], data_format="NLC"), **arguments
    )
    assert gx.dtype == dtype and gx.shape == x.shape
    assert gw.dtype == gb.dtype == case.params and gw.shape == gb.shape == (N, C)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("omit", [False, True], ids=["propagate", "omit"])
def test_moments(where, omit):
    for case in cases(np.float64, where, omit, by=["own"], activations=[None]):
        options = {k: v for k, v in case.extras.items() if k in ("lengths", "mask", "nan_policy", "data_format")}
        m = instnorm.moments(case.to_layout(case.x), **options)
        for got, expected in zip((m.count, m.mean, m.m2), case.own_moments()):
            np.testing.assert_allclose(got, expected.astype(np.float64), rtol=1e-12, atol=1e-14)


def test_denormalize_of_channels_last(rng):
    x = rng.standard_normal((4, 30, 3))
    w, b = 1 + rng.random((2, 4, 3))
    y, m = instnorm.instance_norm(x, weight=w, bias=b, data_format="NLC", return_moments=True)
    np.testing.assert_allclose(instnorm.denormalize(y, m, w, b, data_format="NLC"), x, rtol=0, atol=1e-13)


def test_a_padded_batch_is_its_sequences_to_the_bit(rng):
    lengths = np.array([300, 2, 5000, 77])
    batch = np.full((4, 3, 5000), np.nan, np.float32)
    sequences = [rng.standard_normal((3, k)).astype(np.float32) for k in lengths]
    for row, sequence in zip(batch, sequences):
        row[:, : sequence.shape[1]] = sequence
    y = instnorm.instance_norm(batch, lengths=lengths, activation="gelu")
    for row, sequence, k in zip(y, sequences, lengths):
        np.testing.assert_array_equal(row[:, :k], instnorm.instance_norm(sequence, activation="gelu"))
        assert not row[:, k:].any()


def test_rows_of_fewer_than_two_values_do_not_move_the_running_statistics(rng):
    x = rng.standard_normal((3, 2, 9))
    mean, var = np.zeros(2), np.ones(2)
    instnorm.instance_norm(x, mean, var, momentum=1.0, lengths=np.array([0, 1, 9]))
    np.testing.assert_allclose(mean, x[2].mean(-1), rtol=1e-13)
    np.testing.assert_allclose(var, x[2].var(-1, ddof=1), rtol=1e-13)


def test_given_moments_update_the_running_statistics(rng):
    x = rng.standard_normal((3, 2, 9))
    m = instnorm.moments(rng.standard_normal((3, 2, 40)))
    mean, var = np.zeros(2), np.ones(2)
    instnorm.instance_norm(x, mean, var, momentum=1.0, moments=m)
    np.testing.assert_allclose(mean, m.mean.mean(0), rtol=1e-13)
    np.testing.assert_allclose(var, m.var(ddof=1).mean(0), rtol=1e-13)


def test_one_value_by_running_statistics_has_a_gradient():
    x, g = np.array([[[5.0]]]), np.array([[[3.0]]])
    y, m = instnorm.instance_norm(
        x, np.array([1.0]), np.array([4.0]), use_input_stats=False, eps=0.0, return_moments=True
    )
    gx, _, _ = instnorm.instance_norm_backward(g, x, m, eps=0.0, use_input_stats=False)
    assert y == 2.0 and gx == 1.5


FRAMEWORKS = {"numpy": lambda a: a, "torch": lambda a: torch.from_numpy(a)}


@pytest.mark.parametrize("arrays", FRAMEWORKS)
@pytest.mark.parametrize("selections", FRAMEWORKS)
def test_lengths_and_mask_of_any_framework(rng, arrays, selections):
    x = rng.standard_normal((4, 3, 9))
    lengths = np.array([9, 0, 4, 1], np.int32)
    mask = np.arange(9) < lengths[:, None]
    expected = instnorm.instance_norm(x, lengths=lengths)
    give = FRAMEWORKS[selections]
    for extras in (
        {"lengths": give(lengths)},
        {"lengths": give(np.repeat(lengths, 2).astype(np.int64)[::2])},
        {"mask": give(mask)},
        {"mask": give(np.ascontiguousarray(mask.T)).T},
        {"mask": give(mask)[:, None]},
    ):
        y = instnorm.instance_norm(FRAMEWORKS[arrays](x), **extras)
        assert isinstance(y, torch.Tensor if arrays == "torch" else np.ndarray)
        np.testing.assert_array_equal(np.asarray(y), expected)


def test_a_mask_may_be_read_only_and_expanded(rng):
    x = rng.standard_normal((4, 3, 9))
    mask = np.broadcast_to(rng.random(9) < 0.5, (4, 3, 9))
    np.testing.assert_array_equal(
        instnorm.instance_norm(x, mask=mask), instnorm.instance_norm(x, mask=mask.copy())
    )


def test_rows_of_one_value_are_no_error_where_extras_say_what_is_there():
    x = np.array([[[3.0]], [[np.nan]]])
    with pytest.raises(ValueError, match="expected more than 1 value"):
        instnorm.instance_norm(x)
    for extras in ({"lengths": np.array([1, 0])}, {"mask": np.array([[True], [False]])}):
        np.testing.assert_array_equal(instnorm.instance_norm(x, **extras), np.zeros_like(x))
    np.testing.assert_array_equal(instnorm.instance_norm(x, nan_policy="omit"), [[[0.0]], [[np.nan]]])
    np.testing.assert_array_equal(instnorm.instance_norm(x, moments=instnorm.Moments.empty(2, 1)), np.zeros_like(x))


@pytest.mark.parametrize("where", [None, "lengths", "mask"])
def test_raise_writes_nothing(rng, where):
    x = rng.standard_normal((2, 3, 9))
    x[1, 2, 7] = np.nan
    extras = {"lengths": np.array([9, 7]), "mask": np.arange(9) != 7}
    mean, var, out = np.zeros(3), np.ones(3), np.full_like(x, 5)
    options = dict(nan_policy="raise", momentum=1.0, out=out)
    if where:
        extras["mask"] = np.broadcast_to(extras["mask"], (2, 9))
        assert instnorm.instance_norm(x, mean, var, **options, **{where: extras[where]}) is out
        return
    with pytest.raises(ValueError, match='input has a NaN at n = 1, c = 2, and nan_policy is "raise"'):
        instnorm.instance_norm(x, mean, var, **options)
    assert (out == 5).all() and not mean.any() and (var == 1).all()


def test_spelled_out_defaults_are_no_extras(rng):
    x = rng.standard_normal((2, 3, 9))
    y = instnorm.instance_norm(x, lengths=None, mask=None, nan_policy="propagate", data_format="NCL", activation=None)
    np.testing.assert_array_equal(y, instnorm.instance_norm(x))
    # Not interned, as a keyword from a file or a network would be.
    y = instnorm.instance_norm(x, **{"".join(["data", "_format"]): "".join(["N", "CL"])})
    np.testing.assert_array_equal(y, instnorm.instance_norm(x))
