"""Instance normalisation of 1-D signals, for NumPy and every array that speaks DLPack.

    y = (x - mean) / sqrt(var + eps) * weight + bias

with mean and biased variance over the length L, separately for each instance n and channel c of an
input (N, C, L) or (C, L). ``instnorm.torch`` is the same for PyTorch, with gradients; this module
never imports PyTorch.

>>> import numpy as np
>>> y = instnorm.instance_norm(np.array([[1.0, 3.0, 1.0, 3.0]]), eps=0.0)
>>> y
array([[-1.,  1., -1.,  1.]])
"""

from ._C import (
    denormalize,
    get_num_threads,
    instance_norm,
    instance_norm_backward,
    moments,
    release_memory,
    set_num_threads,
)
from ._C import version as _version
from ._config import show_config
from ._module import InstanceNorm1d
from ._moments import Moments

__version__: str = _version()

__all__ = [
    "InstanceNorm1d",
    "Moments",
    "__version__",
    "denormalize",
    "get_num_threads",
    "instance_norm",
    "instance_norm_backward",
    "moments",
    "release_memory",
    "set_num_threads",
    "show_config",
]
