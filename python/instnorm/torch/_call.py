"""The arguments of PyTorch's instance_norm as one value, in its order."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Call(NamedTuple):
    input: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    use_input_stats: bool
    momentum: float
    eps: float

    def tensors(self) -> tuple[Tensor | None, ...]:
        # Not self[:5]: Dynamo of PyTorch 2.6 knows neither parts of one nor _replace.
        return self.input, self.running_mean, self.running_var, self.weight, self.bias

    def differentiable(self) -> tuple[Tensor | None, ...]:
        return self.input, self.weight, self.bias

    def updates(self) -> bool:
        """Are running statistics written?"""
        return self.running_mean is not None and self.use_input_stats
