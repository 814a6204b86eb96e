"""Instance normalisation of 1-D signals for PyTorch: a drop-in for its layer, and extras.

>>> model = torch.nn.Sequential(torch.nn.Conv1d(3, 8, 5), torch.nn.InstanceNorm1d(8))
>>> model = instnorm.torch.convert(model)
>>> model(torch.randn(2, 3, 100)).shape
torch.Size([2, 8, 96])
"""

from . import functional
from ._adain import AdaIN1d
from ._convert import convert
from ._modules import InstanceNorm1d, LazyInstanceNorm1d
from ._moments import Moments
from ._revin import RevIN

__all__ = [
    "AdaIN1d",
    "InstanceNorm1d",
    "LazyInstanceNorm1d",
    "Moments",
    "RevIN",
    "convert",
    "functional",
]
