"""InstanceNorm1d: the layer, with NumPy's arrays for parameters."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _C
from ._typing import ArrayT

_DTYPES = ("float16", "bfloat16", "float32", "float64")
_STATE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _float_dtype(dtype: DTypeLike | None) -> np.dtype[Any]:
    if isinstance(dtype, str) and dtype == "bfloat16":
        import ml_dtypes  # noqa: F401, registers the name with NumPy

    result = np.dtype(np.float32 if dtype is None else dtype)
    if result.name not in _DTYPES or not result.isnative:
        raise ValueError(
            "[InstanceNorm1d] dtype must be float16, bfloat16, float32 or float64, got "
            f"{result.name if result.isnative else result.str}"
        )
    return result


class InstanceNorm1d:
    """Instance normalisation as a layer, as ``torch.nn.InstanceNorm1d`` is.

    A call normalises an input (N, C, L) or (C, L) by the statistics of its rows; in eval mode, if the
    layer tracks them, by the running statistics.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance.
    momentum : float or None
        The weight of the new value in the running statistics; None leaves them as they are.
    affine : bool
        Have a weight and a bias of shape (C,).
    track_running_stats : bool
        Have running_mean and running_var, updated in training mode and used in eval mode.
    dtype : dtype, optional
        Of the parameters and running statistics: float16, bfloat16, float32 (the default) or float64.
    bias : bool
        False with affine: a weight only.

    Raises
    ------
    TypeError, ValueError
        For an argument of another type or out of range. A call raises what `instance_norm` does, and
        ValueError for an input that is not 2D or 3D or has another number of channels.

    Examples
    --------
    >>> import numpy as np
    >>> norm = InstanceNorm1d(2, affine=True)
    >>> norm
    InstanceNorm1d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=False)
    >>> norm(np.ones((3, 2, 5), np.float32)).shape
    (3, 2, 5)
    >>> sorted(norm.state_dict())
    ['bias', 'weight']
    """

    weight: NDArray[Any] | None
    bias: NDArray[Any] | None
    running_mean: NDArray[Any] | None
    running_var: NDArray[Any] | None
    num_batches_tracked: NDArray[np.int64] | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        num_features = operator.index(num_features)
        if num_features < 0:
            raise ValueError(
                f"[InstanceNorm1d] num_features must be at least 0, got {num_features}"
            )
        self.training = True
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.dtype = _float_dtype(dtype)

        def array(wanted: bool) -> NDArray[Any] | None:
            return np.empty(num_features, self.dtype) if wanted else None

        self.weight = array(affine)
        self.bias = array(affine and bias)
        self.running_mean = array(track_running_stats)
        self.running_var = array(track_running_stats)
        self.num_batches_tracked = np.zeros((), np.int64) if track_running_stats else None
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Set running_mean to 0 and running_var to 1, if there are any."""
        for array, value in (
            (self.running_mean, 0),
            (self.running_var, 1),
            (self.num_batches_tracked, 0),
        ):
            if array is not None:
                array.fill(value)

    def reset_parameters(self) -> None:
        """Set the weight to 1, the bias to 0, and the running statistics to (0, 1)."""
        self.reset_running_stats()
        if self.weight is not None:
            self.weight.fill(1)
        if self.bias is not None:
            self.bias.fill(0)

    def train(self, mode: bool = True) -> InstanceNorm1d:
        """Switch to training mode, or with False to eval mode; the layer itself is returned."""
        self.training = mode
        return self

    def eval(self) -> InstanceNorm1d:
        """Switch to eval mode; the layer itself is returned."""
        return self.train(False)

    def __call__(self, input: ArrayT, *, out: ArrayT | None = None) -> ArrayT:
        shape: tuple[int, ...] = getattr(input, "shape", ())
        if not 2 <= len(shape) <= 3 or shape[-2] != self.num_features:
            self._check_shape(input, shape)
        return _C.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
            out=out,
        )

    def _check_shape(self, input: object, shape: tuple[int, ...]) -> None:
        if not hasattr(input, "shape"):
            return  # no array, which instance_norm says better
        if len(shape) not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {len(shape)}D input)")
        dim = len(shape) - 2
        if self.affine:
            raise ValueError(
                f"expected input's size at dim={dim} to match num_features ({self.num_features}), "
                f"but got: {shape[dim]}."
            )
        warnings.warn(
            f"input's size at dim={dim} does not match num_features. You can silence this warning "
            "by not passing in num_features, which is not used because affine=False",
            stacklevel=3,
        )

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The arrays of the layer by PyTorch's names: those that it has, and they themselves."""
        arrays = ((name, getattr(self, name)) for name in _STATE)
        return {name: array for name, array in arrays if array is not None}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Copy values into the arrays of the layer, converted to their dtype.

        Raises ValueError, and changes nothing, if a key is missing or unexpected or a shape differs.
        num_batches_tracked, which nothing reads, may be missing.
        """
        own = self.state_dict()
        faults = []
        values = {name: np.asarray(value) for name, value in state_dict.items()}
        missing = [name for name in own if name not in values and name != "num_batches_tracked"]
        unexpected = [name for name in values if name not in own]
        if missing:
            faults.append(f"missing {', '.join(missing)}")
        if unexpected:
            faults.append(f"unexpected {', '.join(unexpected)}")
            if not self.track_running_stats and {"running_mean", "running_var"} & {*unexpected}:
                faults[-1] += (
                    " (this layer has track_running_stats=False; a checkpoint from before PyTorch 0.4 "
                    "holds running statistics nevertheless: remove them, or set track_running_stats)"
                )
        for name, array in own.items():
            if name in values and values[name].shape != array.shape:
                faults.append(f"{name} must have shape {array.shape}, got {values[name].shape}")
        if faults:
            raise ValueError(f"[{type(self).__name__}.load_state_dict] {'; '.join(faults)}")
        for name, array in own.items():
            if name in values:
                array[...] = values[name]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state_dict as a safetensors file.

        An older file of that name is replaced at once or not at all. Raises OSError if that fails.
        """
        try:
            _C.save_module(self, os.fsencode(path))
        except RuntimeError as error:
            raise OSError(str(error)) from None

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read a safetensors file of `save` or of PyTorch's state_dict.

        Raises OSError if it cannot be read, ValueError if it is malformed or has missing or
        unexpected keys, other shapes or dtypes; then nothing is changed.
        """
        os.stat(path)  # for FileNotFoundError and its like
        try:
            _C.load_module(self, os.fsencode(path))
        except RuntimeError as error:
            kind = OSError if str(error).startswith("cannot read") else ValueError
            raise kind(str(error)) from None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats})"
        )
