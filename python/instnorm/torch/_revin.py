"""RevIN: reversible instance normalisation of time series."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from . import functional
from ._extras import tensor
from ._moments import Moments


class RevIN(torch.nn.Module):
    """Reversible instance normalisation (Kim et al., ICLR 2022).

        norm:    (x - centre) / std * affine_weight + affine_bias
        denorm:  (y - affine_bias) / (affine_weight + eps**2) * std + centre

    with std = sqrt(var + eps) over time, and the mean over time, or with subtract_last the last
    value, as the centre. Mean and std are constants for gradients; the last value is not. "denorm"
    uses the statistics of the latest "norm".

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance.
    affine : bool
        Have affine_weight and affine_bias of shape (C,).
    subtract_last : bool
        Centre on the last value of each series.

    Raises
    ------
    ValueError
        In a call, for another mode, and for an input that is not (N, L, C).
    RuntimeError
        For "denorm" before any "norm".

    Examples
    --------
    >>> revin = RevIN(2)
    >>> x = torch.arange(12.0).reshape(1, 6, 2)
    >>> y = revin(x, "norm")
    >>> bool((revin(y, "denorm") - x).abs().max() < 1e-5)
    True
    """

    moments: Moments | None

    def __init__(
        self, num_features: int, eps: float = 1e-5, affine: bool = True, subtract_last: bool = False
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.affine = affine
        self.subtract_last = subtract_last
        if affine:
            self.affine_weight = torch.nn.Parameter(torch.ones(num_features))
            self.affine_bias = torch.nn.Parameter(torch.zeros(num_features))
        else:
            self.register_parameter("affine_weight", None)
            self.register_parameter("affine_bias", None)
        # Of the latest "norm": the mean is the centre.
        self.moments = None

    def forward(self, x: Tensor, mode: Literal["norm", "denorm"]) -> Tensor:
        """Normalise x (N, L, C), or bring a prediction (N, any length, C) back to x's units."""
        tensor("RevIN", "x", x)
        if x.dim() != 3 or x.shape[2] != self.num_features:
            raise ValueError(
                f"[RevIN] x must have shape (N, L, C) with C = {self.num_features}, got "
                f"{tuple(x.shape)}"
            )
        if not isinstance(mode, str) or mode not in ("norm", "denorm"):
            got = repr(mode[:80]) if isinstance(mode, str) else type(mode).__name__
            raise ValueError(f"[RevIN] mode must be 'norm' or 'denorm', got {got}")
        if mode == "norm":
            self.moments = self._statistics(x)
            return functional.instance_norm(
                x,
                weight=self.affine_weight,
                bias=self.affine_bias,
                eps=self.eps,
                moments=self.moments,
                data_format="NLC",
            )
        if self.moments is None:
            raise RuntimeError("[RevIN] denorm needs the statistics of a norm, and there was none")
        return functional.denormalize(
            x,
            self.moments,
            self.affine_weight,
            self.affine_bias,
            self.eps,
            weight_offset=self.eps * self.eps,
            data_format="NLC",
        )

    def _statistics(self, x: Tensor) -> Moments:
        if self.subtract_last and x.shape[1] == 0:
            raise ValueError(f"[RevIN] x must have a last value, got shape {tuple(x.shape)}")
        m = functional.moments(x.detach(), data_format="NLC")
        return m._replace(mean=x[:, -1].to(m.mean.dtype)) if self.subtract_last else m

    def __getstate__(self) -> dict[str, Any]:
        # Copies and files have no statistics: these may hang on the graph of a call.
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return {**state, "moments": None}

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, affine={self.affine}, "
            f"subtract_last={self.subtract_last}"
        )
