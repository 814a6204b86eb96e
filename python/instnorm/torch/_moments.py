"""Moments: statistics of rows, as a value of tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def _ratio(numerator: Tensor, denominator: Tensor, fits: Tensor, otherwise: float) -> Tensor:
    """numerator / denominator where it `fits`; elsewhere a constant, without a gradient of NaN."""
    safe = torch.where(fits, denominator, 1.0)
    return torch.where(fits, numerator / safe, otherwise)


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations of each row of an input.

    As `instnorm.Moments`, of tensors: float64, (N, C), on the input's device, and differentiable in
    every operation. For an input (C, L) the shape is (1, C).

    Parameters
    ----------
    count, mean, m2 : Tensor (N, C)
        Number of values, their mean, the sum of their squared deviations from it.

    Examples
    --------
    >>> m = instnorm.torch.functional.moments(torch.tensor([[[1.0, 3.0]]]))
    >>> m.mean, m.var()
    (tensor([[2.]], dtype=torch.float64), tensor([[1.]], dtype=torch.float64))
    >>> m.merge(m).count
    tensor([[4.]], dtype=torch.float64)
    """

    count: Tensor  # type: ignore[assignment]  # the field hides tuple.count
    mean: Tensor
    m2: Tensor

    @staticmethod
    def empty(n: int, c: int, *, device: torch.device | str | None = None) -> Moments:
        """The moments of no values: what a stream begins with.

        >>> Moments.empty(1, 2).count
        tensor([[0., 0.]], dtype=torch.float64)
        """
        return Moments(*(torch.zeros(n, c, dtype=torch.float64, device=device) for _ in range(3)))

    def var(self, ddof: int = 0) -> Tensor:
        """Variance (N, C): m2 / (count - ddof), NaN where count <= ddof."""
        freedom = self.count - ddof
        return _ratio(self.m2, freedom, freedom > 0, float("nan"))

    def std(self, ddof: int = 0) -> Tensor:
        """Standard deviation (N, C): the square root of var(ddof)."""
        return self.var(ddof).sqrt()

    def merge(self, other: Moments) -> Moments:
        """The moments of the values of both (Chan, Golub, LeVeque 1979).

        Exact where a count is 0, associative up to rounding. Raises ValueError if the shapes differ.
        """
        from . import _checks, _ways  # which know of Moments

        if not torch.compiler.is_compiling() and isinstance(other, Moments):
            try:
                merged = _ways.merge(self, other)
            except (TypeError, ValueError, RuntimeError):
                merged = None  # and what is wrong is found below
            if merged is not None:
                return merged
        _checks.moments("Moments.merge", "other", other, self.count)
        if self.count.shape != other.count.shape:
            raise ValueError(
                f"[Moments.merge] shapes differ: {tuple(self.count.shape)} and "
                f"{tuple(other.count.shape)}"
            )
        # What lies in an empty operand, NaN too, must not reach the result.
        left, right = self.count != 0, other.count != 0
        both = left & right
        count = self.count + other.count
        share = _ratio(other.count, count, both, 0.0)
        delta = torch.where(both, other.mean - self.mean, 0.0)
        mean = torch.where(left, self.mean + delta * share, other.mean)
        m2 = torch.where(left, self.m2, 0.0) + torch.where(right, other.m2, 0.0)
        return Moments(count, mean, m2 + delta * delta * self.count * share)

    def detach(self) -> Moments:
        """The same numbers as constants.

        >>> m = Moments.empty(1, 2).detach()
        >>> m.mean.requires_grad
        False
        """
        return Moments(self.count.detach(), self.mean.detach(), self.m2.detach())
