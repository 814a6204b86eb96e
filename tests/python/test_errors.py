"""Mistakes raise ValueError or TypeError that say what was expected and what came."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from optional import optional

import instnorm

torch = optional("torch")

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
M = instnorm.moments(X)
norm = instnorm.instance_norm


def read_only() -> np.ndarray:
    array = X.copy()
    array.flags.writeable = False
    return array


def fake() -> torch.Tensor:
    with torch._subclasses.fake_tensor.FakeTensorMode():
        return torch.empty(2, 3, 4)


def negated() -> torch.Tensor:
    return torch.imag(torch.complex(torch.ones(2, 3, 4), torch.ones(2, 3, 4)).conj())


def conjugated() -> str:
    """What is said of a complex tensor that is lazily conjugated: before its exchange API, PyTorch itself refuses it."""
    if hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        return "[instance_norm] input must be float16, bfloat16, float32 or float64, got complex64"
    return "[instance_norm] input must be an array whose memory can be read, but Tensor says: "


def packed(field: str) -> np.ndarray:
    return np.zeros((2, 3), [("a", "u1"), ("f", "f4")])[field]


ERRORS = [
    # What is given to the function.
    (lambda: norm(), TypeError, "instance_norm() missing required argument 'input'"),
    (lambda: norm(X, *[None] * 8), TypeError, "instance_norm() takes at most 8 positional arguments (9 given)"),
    (lambda: norm(X, input=X), TypeError, "instance_norm() got multiple values for argument 'input'"),
    (lambda: norm(X, wieght=X), TypeError, "instance_norm() got an unexpected keyword argument 'wieght'"),
    (lambda: norm(X, eps="a"), TypeError, "[instance_norm] eps must be a number, got str"),
    (lambda: norm(X, momentum=None), TypeError, "[instance_norm] momentum must be a number, got NoneType"),
    (lambda: norm(X, use_input_stats=1), TypeError, "[instance_norm] use_input_stats must be a bool, got int"),
    (lambda: norm(X, return_moments=None), TypeError, "[instance_norm] return_moments must be a bool, got NoneType"),
    (lambda: norm(X, moments=3), TypeError, "[instance_norm] moments must be instnorm.Moments, got int"),
    (lambda: instnorm.moments(X, X), TypeError, "moments() takes at most 1 positional argument (2 given)"),
    # What is no array, or not what its memory says.
    (lambda: norm(None), TypeError, "[instance_norm] input must be an array of NumPy or one that speaks DLPack, got NoneType"),
    (lambda: norm([[1.0]]), TypeError, "[instance_norm] input must be an array of NumPy or one that speaks DLPack, got list"),
    (lambda: norm(X, weight=1.0), TypeError, "[instance_norm] weight must be an array of NumPy or one that speaks DLPack, got float"),
    (lambda: norm(np.ma.array(X)), TypeError, "[instance_norm] input must not be a masked array: its mask would be ignored"),
    (lambda: norm(torch.ones(3, 4, requires_grad=True)), TypeError, "[instance_norm] input requires grad, and functions on arrays have no gradients: use instnorm.torch, or give input.detach()"),
    (lambda: norm(torch.ones(3, 4), weight=torch.nn.Parameter(torch.ones(3))), TypeError, "[instance_norm] weight requires grad, "),
    (lambda: norm(fake()), TypeError, "[instance_norm] input must be a plain tensor, got a FakeTensor, which has no memory of its own: instnorm.torch takes it"),
    (lambda: norm(negated()), TypeError, "[instance_norm] input is a lazily negated view, whose memory has the other sign: give .resolve_neg()"),
    (lambda: norm(torch.ones(2, 3, 4, dtype=torch.complex64)), ValueError, "[instance_norm] input must be float16, bfloat16, float32 or float64, got complex64"),
    (lambda: norm(torch.ones(2, 3, 4, dtype=torch.complex64).conj()), ValueError, conjugated()),
    (lambda: norm(torch.empty(2, 3, 4, device="meta")), ValueError, "[instance_norm] input must be on the CPU, got an array on meta"),
    (lambda: norm(torch.ones(3, 4).to_sparse()), ValueError, "[instance_norm] input must be an array whose memory can be read, but Tensor says: "),
    (lambda: torch.func.vmap(norm)(torch.ones(2, 3, 4)), ValueError, "[instance_norm] input must be an array whose memory can be read, but Tensor says: "),
    (lambda: norm(torch._efficientzerotensor(3, 4)), ValueError, "[instance_norm] input has shape (3, 4) but no data"),
    # Element types.
    (lambda: norm(X.astype(">f4")), ValueError, "[instance_norm] input must be in native byte order, got >f4; convert it with .astype(...)"),
    (lambda: norm(X.astype(object)), ValueError, "[instance_norm] input must be float16, bfloat16, float32 or float64, got object"),
    (lambda: norm(X.astype(np.int8)), ValueError, "[instance_norm] input must be float16, bfloat16, float32 or float64, got int8"),
    (lambda: norm(X.astype(np.int64)), ValueError, "[instance_norm] input must be float16, bfloat16, float32 or float64, got int64"),
    (lambda: norm(X.astype(ml_dtypes.float8_e4m3fn)), ValueError, "[instance_norm] input must be float16, bfloat16, float32 or float64, got float8_e4m3fn"),
    (lambda: norm(torch.ones(3, 4, dtype=torch.int16)), ValueError, "[instance_norm] input must be float16, bfloat16, float32 or float64, got int16"),
    (lambda: norm(X, weight=np.ones(3)), ValueError, "[instance_norm] weight must be float32 for a float32 input, got float64"),
    # Shapes and memory.
    (lambda: norm(X[0, 0]), ValueError, "[instance_norm] input must have at least 2 dimensions, (C, L) or (N, C, L), got shape (4,)"),
    (lambda: norm(np.float32(1) * np.ones((1,) * 9)), ValueError, "[instance_norm] input must have at most 8 dimensions, got 9"),
    (lambda: norm(packed("f")), ValueError, "[instance_norm] input must be aligned, with strides that are whole elements, got strides of (15, 5) bytes for float32; give a copy of it"),
    (lambda: norm(X, weight=np.ones(2, np.float32)), ValueError, "[instance_norm] weight must have shape (C,) = (3,) or (N, C) = (2, 3), got (2,)"),
    (lambda: norm(X[..., :1]), ValueError, "[instance_norm] expected more than 1 value in each row to normalise by its own statistics, got input of shape (2, 3, 1)"),
    (lambda: norm(X, use_input_stats=False), ValueError, "[instance_norm] running_mean and running_var are needed when use_input_stats is false"),
    (lambda: norm(X, np.zeros(3, np.float32)), ValueError, "[instance_norm] running_mean and running_var must either both be given or neither"),
    (lambda: norm(X, moments=instnorm.Moments.empty(1, 3)), ValueError, "[instance_norm] moments must have shape (N, C) = (2, 3), got (1, 3)"),
    # lengths, mask, nan_policy, data_format, activation, moments.
    (lambda: norm(X, lengths=[4, 4]), TypeError, "[instance_norm] lengths must be an array of NumPy or one that speaks DLPack, got list"),
    (lambda: norm(X, lengths=np.array([4, 4], np.uint8)), ValueError, "[instance_norm] lengths must be int32 or int64, got uint8"),
    (lambda: norm(X, lengths=torch.tensor([4, 4], dtype=torch.int16)), ValueError, "[instance_norm] lengths must be int32 or int64, got int16"),
    (lambda: norm(X, lengths=np.array([4, 4], ">i8")), ValueError, "[instance_norm] lengths must be int32 or int64, got >i8"),
    (lambda: norm(X, lengths=np.array([4.0, 4.0])), ValueError, "[instance_norm] lengths must be int32 or int64, got float64"),
    (lambda: norm(X, lengths=np.array([True, True])), ValueError, "[instance_norm] lengths must be int32 or int64, got bool"),
    (lambda: norm(X, lengths=np.array([4])), ValueError, "[instance_norm] lengths must have shape (N,) = (2,), got (1,)"),
    (lambda: norm(X, lengths=np.array(4)), ValueError, "[instance_norm] lengths must have shape (N,) = (2,), got ()"),
    (lambda: norm(X, lengths=np.array([4, 5])), ValueError, "[instance_norm] lengths must be from 0 to L = 4, got 5 at n = 1"),
    (lambda: norm(X, lengths=np.array([-1, 4])), ValueError, "[instance_norm] lengths must be from 0 to L = 4, got -1 at n = 0"),
    (lambda: norm(X[..., None], lengths=np.array([4, 4])), ValueError, "[instance_norm] lengths needs input of 2 or 3 dimensions, got shape (2, 3, 4, 1)"),
    (lambda: norm(X, mask=True), TypeError, "[instance_norm] mask must be an array of NumPy or one that speaks DLPack, got bool"),
    (lambda: norm(X, mask=np.ones((2, 4), np.uint8)), ValueError, "[instance_norm] mask must be bool, got uint8"),
    (lambda: norm(X, mask=np.ones((2, 4), np.float32)), ValueError, "[instance_norm] mask must be bool, got float32"),
    (lambda: norm(X, mask=np.ones((1, 4), bool)), ValueError, "[instance_norm] mask must have shape (2, 4), (2, 1, 4) or (2, 3, 4), got (1, 4)"),
    (lambda: norm(X, mask=np.ones((2, 4, 3), bool), data_format="NLC"), ValueError, "[instance_norm] mask must have shape (2, 3), (2, 3, 1) or (2, 3, 4), got (2, 4, 3)"),
    (lambda: norm(X, lengths=np.array([4, 4]), mask=np.ones((2, 4), bool)), ValueError, "[instance_norm] lengths and mask are both given: give one of them"),
    (lambda: norm(X, nan_policy="drop"), ValueError, '[instance_norm] nan_policy must be "propagate", "omit" or "raise", got "drop"'),
    (lambda: norm(X, nan_policy=None), TypeError, "[instance_norm] nan_policy must be a str, got NoneType"),
    (lambda: norm(X, data_format="ncl"), ValueError, '[instance_norm] data_format must be "NCL" or "NLC", got "ncl"'),
    (lambda: norm(X, activation="tanh"), ValueError, '[instance_norm] activation must be "relu", "leaky_relu", "gelu", "gelu_tanh" or "silu", got "tanh"'),
    (lambda: norm(X, activation=np.tanh), TypeError, "[instance_norm] activation must be a str, got ufunc"),
    (lambda: norm(X * np.nan, nan_policy="raise"), ValueError, '[instance_norm] input has a NaN at n = 0, c = 0, and nan_policy is "raise"'),
    (lambda: norm(X, np.zeros(3, np.float32), np.ones(3, np.float32), use_input_stats=False, moments=M), ValueError, "[instance_norm] moments with use_input_stats false: give one of them"),
    (lambda: instnorm.moments(X, lengths=np.array([9, 9])), ValueError, "[moments] lengths must be from 0 to L = 4, got 9 at n = 0"),
    (lambda: instnorm.moments(X, data_format="NHWC"), ValueError, '[moments] data_format must be "NCL" or "NLC", got "NHWC"'),
    (lambda: instnorm.denormalize(X, M, data_format="NLC"), ValueError, "[denormalize] m must have shape (N, C) = (2, 4), got (2, 3)"),
    (lambda: instnorm.instance_norm_backward(X, X, M, mask=np.ones(4, bool)), ValueError, "[instance_norm_backward] mask must have shape (2, 4), (2, 1, 4) or (2, 3, 4), got (4,)"),
    # What is written.
    (lambda: norm(X, out=read_only()), ValueError, "[instance_norm] out must be writable, got a read-only ndarray"),
    (lambda: norm(X, read_only()[0, :, 0], np.ones(3, np.float32)), ValueError, "[instance_norm] running_mean must be writable, got a read-only ndarray"),
    (lambda: norm(X, out=X.astype(np.float64)), ValueError, "[instance_norm] out must have the dtype of input, float32, got float64"),
    (lambda: norm(X, out=X[:1].copy()), ValueError, "[instance_norm] out must have the shape of input, (2, 3, 4), got (1, 3, 4)"),
    (lambda: norm(X, out=X[..., ::-1]), ValueError, "[instance_norm] out overlaps input"),
    (lambda: instnorm.denormalize(X, M, out=read_only()), ValueError, "[denormalize] out must be writable, got a read-only ndarray"),
    # The other functions.
    (lambda: instnorm.instance_norm_backward(X, X, X), TypeError, "[instance_norm_backward] moments must be instnorm.Moments, got ndarray"),
    (lambda: instnorm.instance_norm_backward(X[:1], X, M), ValueError, "[instance_norm_backward] grad_output must have the shape of input, (2, 3, 4), got (1, 3, 4)"),
    (lambda: instnorm.moments(X[0, 0]), ValueError, "[moments] input must have at least 2 dimensions"),
    (lambda: instnorm.set_num_threads(0), ValueError, "[set_num_threads] expected at least 1 thread, got 0"),
    (lambda: instnorm.set_num_threads(2**70), ValueError, "[set_num_threads] k must be a number of threads, got 1180591620717411303424"),
    (lambda: instnorm.set_num_threads(1.5), TypeError, "[set_num_threads] k must be an int, got float"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[m for _, _, m in ERRORS])
def test_message(call, error, message):
    before = X.copy()
    with pytest.raises(error) as raised:
        call()
    assert type(raised.value) is error
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    np.testing.assert_array_equal(X, before)
