"""The textbook definition, in float64 (long double for float64 inputs), and what may differ from it."""

from __future__ import annotations

import ml_dtypes
import numpy as np

DTYPES = [np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)]

# Largest error of y relative to 1 + |y|, beside half a unit in the last place of a 16-bit result.
# float32: the library's promise. float64: 8 units in the last place.
_ERROR = {2: 1e-6, 4: 1e-6, 8: 8 * 2.0**-52}
# Half a unit in the last place, relative: 11 bits of significand, and 8.
_HALF_ULP = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 0.0, "float64": 0.0}


def wide(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.longdouble if x.dtype in (np.float64, np.longdouble) else np.float64)


def _rows(x: np.ndarray) -> np.ndarray:
    """x as (N, C, L)."""
    if x.ndim == 2:
        return x[np.newaxis]
    return x.reshape(x.shape[0], x.shape[1], int(np.prod(x.shape[2:])))


def _param(p: np.ndarray | None, default: float) -> np.ndarray | float:
    return default if p is None else wide(np.atleast_2d(p))[..., np.newaxis]


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre, shift, m2 = _moments(_rows(wide(x)))
    return (centre + shift)[..., 0], m2[..., 0]


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean in two parts, and m2: one number has no room for a mean far from 0 beside a small spread."""
    centre = rows[..., :1]
    shift = (rows - centre).mean(-1, keepdims=True)
    return centre, shift, ((rows - centre - shift) ** 2).sum(-1, keepdims=True)


def normalize(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    eps: float = 1e-5,
    weight_offset: float = 0.0,
    statistics: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """`statistics` are mean and variance, (N, C) or (1, C), instead of the rows' own."""
    rows = _rows(wide(x))
    if statistics is None:
        centre, shift, m2 = _moments(rows)
        centred, var = rows - centre - shift, m2 / rows.shape[-1]
    else:
        mean, var = (wide(s)[..., np.newaxis] for s in statistics)
        centred = rows - mean
    scale = _param(weight, 1.0) + (0.0 if weight is None else weight_offset)
    y = centred / np.sqrt(var + eps) * scale + _param(bias, 0.0)
    return y.reshape(x.shape)


def assert_close(y: np.ndarray, expected: np.ndarray) -> None:
    y = np.asarray(y)
    name = y.dtype.name
    bound = _ERROR[y.dtype.itemsize] * (1 + np.abs(expected)) + _HALF_ULP[name] * np.abs(expected)
    worst = np.abs(wide(y) - expected) - bound
    assert y.shape == expected.shape
    assert not (worst > 0).any(), f"{name}: {worst.max()} above the bound"
