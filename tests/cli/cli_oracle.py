"""The textbook definition in NumPy, in long double, and how far a result may be from it."""

import ml_dtypes
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def rows(x):
    """x as long double (N, C, L); rank 2 is (C, L)."""
    x = np.asarray(x).astype(np.float64).astype(np.longdouble)
    return x[None] if x.ndim == 2 else x.reshape(x.shape[0], x.shape[1], -1)


def moments(x):
    r = rows(x)
    mean = r.mean(-1)
    return {"count": np.full(mean.shape, float(r.shape[-1])), "mean": mean,
            "m2": ((r - mean[..., None]) ** 2).sum(-1)}


@np.errstate(invalid="ignore")  # rows with infinities
def instance_norm(x, eps=1e-5, weight=None, bias=None, mean=None, var=None):
    """mean and var: those to normalise by, of shape (C,) or (N, C); else those of each row."""
    r = rows(x)
    mean = r.mean(-1) if mean is None else np.broadcast_to(np.float64(mean), r.shape[:2])
    var = r.var(-1) if var is None else np.broadcast_to(np.float64(var), r.shape[:2])
    y = (r - mean[..., None]) / np.sqrt(var + eps)[..., None]
    if weight is not None:
        y = y * np.float64(weight)[:, None]
    if bias is not None:
        y = y + np.float64(bias)[:, None]
    return y.reshape(np.shape(x))


def tolerance(dtype):
    """Half a unit in the last place of a 16-bit result; of float32 1e-6, of float64 8 units."""
    return {np.dtype(np.float16): 2.0**-11 + 1e-6, BFLOAT16: 2.0**-8 + 1e-6,
            np.dtype(np.float32): 1e-6, np.dtype(np.float64): 2.0**-49}[np.dtype(dtype)]


def assert_close(got, want, dtype):
    got = np.asarray(got).astype(np.float64)
    assert got.shape == want.shape
    error = np.abs(got - want) / (1 + np.abs(want))
    assert (error <= tolerance(dtype)).all(), error.max()
