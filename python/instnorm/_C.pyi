from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from ._module import InstanceNorm1d
from ._moments import Moments
from ._typing import Activation, Array, ArrayT, BiasT, DataFormat, NanPolicy, WeightT

@overload
def instance_norm(
    input: ArrayT,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
    *,
    out: ArrayT | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
    weight_offset: float = 0.0,
    activation: Activation | None = None,
    moments: Moments | None = None,
    return_moments: Literal[False] = False,
) -> ArrayT: ...
@overload
def instance_norm(
    input: ArrayT,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
    *,
    out: ArrayT | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
    weight_offset: float = 0.0,
    activation: Activation | None = None,
    moments: Moments | None = None,
    return_moments: Literal[True],
) -> tuple[ArrayT, Moments]: ...
def instance_norm_backward(
    grad_output: Array,
    input: ArrayT,
    moments: Moments,
    weight: WeightT = None,  # type: ignore[assignment]
    bias: BiasT = None,  # type: ignore[assignment]
    eps: float = 1e-05,
    *,
    use_input_stats: bool = True,
    lengths: Array | None = None,
    mask: Array | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
    weight_offset: float = 0.0,
    activation: Activation | None = None,
) -> tuple[ArrayT, WeightT, BiasT]: ...
def moments(
    input: Array,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
) -> Moments: ...
def denormalize(
    y: ArrayT,
    m: Moments,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-05,
    *,
    weight_offset: float = 0.0,
    data_format: DataFormat = "NCL",
    out: ArrayT | None = None,
) -> ArrayT: ...
def get_num_threads() -> int: ...
def set_num_threads(k: int) -> None: ...
def release_memory() -> int: ...
def version() -> str: ...
def cpu_target() -> str: ...
def available_cpu_targets() -> list[str]: ...
def openmp_library() -> str: ...
def normalize_tensor(
    input: ArrayT,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    /,
) -> ArrayT: ...
def normalize_tensor_saving(
    input: ArrayT,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    /,
) -> tuple[ArrayT, object]: ...
def empty_like_tensor(input: ArrayT, /) -> ArrayT: ...
def saved_moments(moments: object, /) -> Moments: ...
def backward_of_tensor(
    grad_output: ArrayT,
    input: ArrayT,
    moments: object,
    weight: ArrayT | None,
    bias: ArrayT | None,
    eps: float,
    use_input_stats: bool,
    needs_input: bool,
    needs_weight: bool,
    needs_bias: bool,
    lengths: ArrayT | None = ...,
    mask: ArrayT | None = ...,
    nan_policy: NanPolicy = ...,
    data_format: DataFormat = ...,
    weight_offset: float = ...,
    activation: Activation | None = ...,
    /,
) -> tuple[ArrayT | None, ArrayT | None, ArrayT | None]: ...
def double_backward_of_tensor(
    to_input: ArrayT | None,
    to_weight: ArrayT | None,
    to_bias: ArrayT | None,
    grad_output: ArrayT,
    input: ArrayT,
    moments: object,
    weight: ArrayT | None,
    eps: float,
    use_input_stats: bool,
    needs_grad_output: bool,
    needs_input: bool,
    needs_weight: bool,
    lengths: ArrayT | None,
    data_format: DataFormat,
    weight_offset: float,
    /,
) -> tuple[ArrayT | None, ArrayT | None, ArrayT | None]: ...
def moments_empty(n: int, c: int) -> Moments: ...
def moments_var(self: Moments, ddof: int) -> NDArray[np.float64]: ...
def moments_std(self: Moments, ddof: int) -> NDArray[np.float64]: ...
def moments_merge(self: Moments, other: Moments) -> Moments: ...
def save_module(layer: InstanceNorm1d, path: bytes) -> None: ...
def load_module(layer: InstanceNorm1d, path: bytes) -> None: ...
