"""AdaIN1d: instance normalisation whose scale and shift come from a style."""

from __future__ import annotations

import torch
from torch import Tensor

from . import functional
from ._extras import tensor


class AdaIN1d(torch.nn.Module):
    """Adaptive instance normalisation: (1 + gamma) * norm(x) + beta.

    gamma and beta, of shape (N, C), are the halves of a linear function of the style. The names of
    the parameters are those of StyleTTS 2, whose checkpoints load.

    Parameters
    ----------
    style_dim : int
        Size of a style.
    num_features : int
        C.

    Raises
    ------
    ValueError, RuntimeError
        In a call, as `functional.instance_norm` and ``torch.nn.Linear`` do.

    Examples
    --------
    >>> adain = AdaIN1d(4, 2)
    >>> adain(torch.randn(3, 2, 50), torch.randn(3, 4)).shape
    torch.Size([3, 2, 50])
    >>> list(adain.state_dict())
    ['fc.weight', 'fc.bias']
    """

    def __init__(self, style_dim: int, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.fc = torch.nn.Linear(style_dim, 2 * num_features)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (N, C, L) in the style (N, style_dim)."""
        tensor("AdaIN1d", "x", x)
        tensor("AdaIN1d", "style", style, x if isinstance(x, Tensor) else None)
        # Under autocast a Linear may give another dtype than x has.
        gamma, beta = self.fc(style).to(x.dtype).chunk(2, dim=-1)
        return functional.instance_norm(x, weight=gamma, bias=beta, weight_offset=1.0)
