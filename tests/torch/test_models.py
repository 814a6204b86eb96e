"""Models as they are built with PyTorch's layers, trained with those and converted: the same losses.

In float64, where both are exact to 1e-15, so that 20 steps of descent leave no room for another
gradient. In the middle each takes the other's state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import instnorm.torch as it

STEPS = 20
# Each step carries over a difference of rounding, enlarged by the curvature of the loss.
TOLERANCE = 1e-9


def feature_extractor() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """wav2vec 2.0's: the first convolution has a GroupNorm(C, C) behind it, HuBERT's too."""
    layers: list[nn.Module] = []
    for i, (inputs, kernel, stride) in enumerate([(1, 10, 5), (6, 3, 2), (6, 2, 2)]):
        layers.append(nn.Conv1d(inputs, 6, kernel, stride, bias=False))
        if i == 0:
            layers.append(nn.GroupNorm(6, 6, affine=True))
        layers.append(nn.GELU())
    x, target = torch.randn(2, 1, 200) + 3, torch.randn(2, 6, 9)
    return nn.Sequential(*layers), lambda model: (model(x) - target).square().mean()


class AdaIN(nn.Module):
    """StyleTTS 2's, by the names of its checkpoints."""

    def __init__(self, style_dim: int, num_features: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(num_features, affine=False)
        self.fc = nn.Linear(style_dim, num_features * 2)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        h = self.fc(s)
        h = h.view(h.size(0), h.size(1), 1)
        gamma, beta = torch.chunk(h, chunks=2, dim=1)
        return (1 + gamma) * self.norm(x) + beta


class AdainResBlock(nn.Module):
    """Style in, signal twice as long out."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, adain: type[nn.Module] = AdaIN) -> None:
        super().__init__()
        self.norm1, self.norm2 = adain(style_dim, inputs), adain(style_dim, outputs)
        self.conv1 = weight_norm(nn.Conv1d(inputs, outputs, 3, 1, 1))
        self.conv2 = weight_norm(nn.Conv1d(outputs, outputs, 3, 1, 1))
        self.conv1x1 = weight_norm(nn.Conv1d(inputs, outputs, 1, bias=False))
        self.pool = weight_norm(
            nn.ConvTranspose1d(inputs, inputs, 3, stride=2, groups=inputs, padding=1, output_padding=1)
        )

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        residual = self.pool(F.leaky_relu(self.norm1(x, s), 0.2))
        residual = self.conv2(F.leaky_relu(self.norm2(self.conv1(residual), s), 0.2))
        return (residual + self.conv1x1(F.interpolate(x, scale_factor=2))) / math.sqrt(2)


def adain_block() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    x, style, target = torch.randn(2, 4, 12), torch.randn(2, 5), torch.randn(2, 6, 24)
    return AdainResBlock(4, 6, 5), lambda model: (model(x, style) - target).abs().square().mean()


class UNet(nn.Module):
    """Two steps down, two up; the norms of the way down track, those of the way up do not."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, track: bool) -> nn.Module:
            norm = nn.InstanceNorm1d(outputs, affine=True, track_running_stats=track)
            return nn.Sequential(nn.Conv1d(inputs, outputs, 3, padding=1), norm, nn.ReLU(inplace=True))

        self.down = nn.ModuleList([block(2, 4, True), block(4, 6, True)])
        self.middle = block(6, 8, False)
        self.up = nn.ModuleList([block(8 + 6, 6, False), block(6 + 4, 4, False)])
        self.head = nn.Conv1d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = F.max_pool1d(x, 2)
        x = self.middle(x)
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2), kept.pop()], 1))
        return self.head(x)


def u_net() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    x = torch.randn(2, 2, 32)
    return UNet(), lambda model: F.binary_cross_entropy_with_logits(model(x), (x[:, :1] > 0).double())


def wgan_critic() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """The critic's step of a WGAN-GP: the loss has the norm of a gradient in it."""
    critic = nn.Sequential(
        nn.Conv1d(1, 4, 5, stride=2), nn.LeakyReLU(0.2),
        nn.Conv1d(4, 6, 5, stride=2), nn.InstanceNorm1d(6, affine=True), nn.Tanh(),
        nn.Flatten(), nn.LazyLinear(1),
    )
    real, made = torch.randn(3, 1, 40).cumsum(2), torch.randn(3, 1, 40)
    share = torch.rand(3, 1, 1)
    critic(real)

    def loss(model: nn.Module) -> Tensor:
        between = (share * real + (1 - share) * made).requires_grad_()
        (gradient,) = torch.autograd.grad(model(between).sum(), between, create_graph=True)
        penalty = (gradient.flatten(1).norm(2, dim=1) - 1).square().mean()
        return model(made).mean() - model(real).mean() + 10 * penalty

    return critic, loss


def descend(model: nn.Module, loss_of: Callable[[nn.Module], Tensor], steps: int) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.fixture(autouse=True)
def in_float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


MADE = [feature_extractor, adain_block, u_net, wgan_critic]


@pytest.mark.parametrize("made", MADE, ids=lambda f: f.__name__)
def test_converted_models_train_the_same(made):
    plain, loss_of = made()
    converted = it.convert(copy.deepcopy(plain))
    ours = [m for m in converted.modules() if type(m).__module__.startswith("instnorm.")]
    norms = [m for m in plain.modules() if isinstance(m, (nn.InstanceNorm1d, nn.GroupNorm))]
    assert len(ours) == len(norms) > 0
    losses = [descend(model, loss_of, STEPS // 2) for model in (plain, converted)]
    states = [{k: v.clone() for k, v in model.state_dict().items()} for model in (plain, converted)]
    torch.testing.assert_close(states[1], states[0], rtol=TOLERANCE, atol=TOLERANCE)
    plain.load_state_dict(states[1])
    converted.load_state_dict(states[0])
    for model, found in zip((plain, converted), losses):
        found += descend(model, loss_of, STEPS // 2)
    torch.testing.assert_close(losses[1], losses[0], rtol=TOLERANCE, atol=TOLERANCE)
    # They have learnt something, or the losses would say little.
    assert losses[0][-1] < losses[0][0] - 1e-3


def test_adain1d_takes_the_place_of_the_published_one():
    block, loss_of = adain_block()
    mine = AdainResBlock(4, 6, 5, it.AdaIN1d)
    mine.load_state_dict(block.state_dict())
    losses = [descend(model, loss_of, STEPS) for model in (block, mine)]
    torch.testing.assert_close(losses[1], losses[0], rtol=TOLERANCE, atol=TOLERANCE)
