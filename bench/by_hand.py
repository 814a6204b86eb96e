"""What people write in PyTorch for what instance_norm does not take: the "today" of docs/cookbook.

x is (N, C, L) where nothing else is said. Written as it is found in public code, not to be fast or right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def masked_norm(x: Tensor, lengths: Tensor, eps: float = 1e-5) -> Tensor:
    mask = (torch.arange(x.shape[2]) < lengths[:, None])[:, None]
    count = lengths[:, None, None]
    mean = (x * mask).sum(2, keepdim=True) / count
    var = ((x - mean) ** 2 * mask).sum(2, keepdim=True) / count
    return (x - mean) / torch.sqrt(var + eps) * mask


def mask_norm(x: Tensor, mask: Tensor, eps: float = 1e-5) -> Tensor:
    mask = mask[:, None]  # (N, L)
    count = mask.sum(2, keepdim=True).clamp(min=1)
    mean = (x * mask).sum(2, keepdim=True) / count
    var = ((x - mean) ** 2 * mask).sum(2, keepdim=True) / count
    return (x - mean) / torch.sqrt(var + eps) * mask


def nan_norm(x: Tensor, eps: float = 1e-5) -> Tensor:
    mean = torch.nanmean(x, dim=2, keepdim=True)
    var = torch.nanmean((x - mean) ** 2, dim=2, keepdim=True)
    return (x - mean) / torch.sqrt(var + eps)


def adain(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return (1 + gamma[:, :, None]) * F.instance_norm(x) + beta[:, :, None]


class RevIN(torch.nn.Module):
    """x is (N, L, C)."""

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.affine_weight = torch.nn.Parameter(torch.ones(num_features))
        self.affine_bias = torch.nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor, mode: str) -> Tensor:
        if mode == "norm":
            self.mean = torch.mean(x, dim=1, keepdim=True).detach()
            self.stdev = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + self.eps).detach()
            x = (x - self.mean) / self.stdev
            return x * self.affine_weight + self.affine_bias
        x = (x - self.affine_bias) / (self.affine_weight + self.eps * self.eps)
        return x * self.stdev + self.mean


def channels_last(x: Tensor) -> Tensor:
    """x is (N, L, C)."""
    return F.instance_norm(x.transpose(1, 2)).transpose(1, 2).contiguous()


class RunningSums:
    """Of a stream of chunks (C, L)."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sum, self.sum_of_squares = torch.zeros(channels), torch.zeros(channels)

    def __call__(self, chunk: Tensor, eps: float = 1e-5) -> Tensor:
        self.count += chunk.shape[1]
        self.sum += chunk.sum(1)
        self.sum_of_squares += (chunk**2).sum(1)
        mean = self.sum / self.count
        var = self.sum_of_squares / self.count - mean**2
        return (chunk - mean[:, None]) / torch.sqrt(var.clamp(min=0) + eps)[:, None]


def running_sums_of_arrays(
    chunk: Array, count: int, total: Array, squares: Array, eps: float = 1e-5
) -> tuple[Array, int, Array, Array]:
    """The same in NumPy, without a class: y and the new count, sum and sum of squares."""
    count, total, squares = count + chunk.shape[1], total + chunk.sum(1), squares + (chunk**2).sum(1)
    mean = total / count
    var = squares / count - mean**2
    return (chunk - mean[:, None]) / np.sqrt(np.maximum(var, 0)[:, None] + eps), count, total, squares


def mean_and_variance(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(2), x.var(2, unbiased=False)


def normalize_by(x: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-5) -> Tensor:
    return (x - mean[:, :, None]) / torch.sqrt(var[:, :, None] + eps)


def way_back(y: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-5) -> Tensor:
    return y * torch.sqrt(var[:, :, None] + eps) + mean[:, :, None]
