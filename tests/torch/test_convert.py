"""convert: what becomes ours, what stays, and that nobody notices."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch.nn.utils import parametrize

import instnorm.torch as it
import torch_oracle as oracle

INSTANCE, GROUP = torch.nn.InstanceNorm1d, torch.nn.GroupNorm


def test_one_layer_stays_the_same_object():
    layer = INSTANCE(3, affine=True, track_running_stats=True).eval()
    weight, mean = layer.weight, layer.running_mean
    assert it.convert(layer) is layer and type(layer) is it.InstanceNorm1d
    assert layer.weight is weight and layer.running_mean is mean and not layer.training
    before = dict(vars(layer))
    assert it.convert(layer) is layer and vars(layer) == before
    lazy = torch.nn.LazyInstanceNorm1d()
    assert type(it.convert(lazy)) is it.LazyInstanceNorm1d
    lazy(torch.randn(2, 3, 8))
    assert type(lazy) is it.InstanceNorm1d


def test_a_model_of_many_kinds():
    shared = INSTANCE(4, affine=True)
    model = torch.nn.ModuleDict({
        "list": torch.nn.ModuleList([torch.nn.Conv1d(1, 4, 3), shared, torch.nn.LazyInstanceNorm1d()]),
        "sequence": torch.nn.Sequential(shared, GROUP(4, 4), GROUP(2, 4)),
        "others": torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.InstanceNorm2d(4), torch.nn.LayerNorm(4)),
    })
    names = [n for n, _ in model.named_modules()]
    parameters, state = list(model.parameters()), list(model.state_dict())
    assert it.convert(model) is model
    assert [n for n, _ in model.named_modules()] == names and list(model.state_dict()) == state
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert model["list"][1] is model["sequence"][0] is shared and type(shared) is it.InstanceNorm1d
    assert type(model["list"][2]) is it.LazyInstanceNorm1d
    assert isinstance(model["sequence"][1], GROUP) and type(model["sequence"][1]) is not GROUP
    assert [type(m) for m in (model["sequence"][2], *model["others"])] == [
        GROUP, torch.nn.BatchNorm1d, torch.nn.InstanceNorm2d, torch.nn.LayerNorm
    ]
    types = [type(m) for m in model.modules()]
    it.convert(model)
    assert [type(m) for m in model.modules()] == types


def test_hooks_flags_and_optimisers():
    layer = INSTANCE(3, affine=True)
    layer.weight.requires_grad_(False)
    seen = []
    layer.register_forward_hook(lambda m, a, y: seen.append("forward"))
    layer.register_full_backward_hook(lambda m, gi, go: seen.append("backward"))
    optimizer = torch.optim.SGD(layer.parameters(), 1.0)
    it.convert(layer)
    assert not layer.weight.requires_grad
    layer(torch.randn(2, 3, 8, requires_grad=True)).sum().backward()
    optimizer.step()
    assert seen == ["forward", "backward"]
    torch.testing.assert_close(layer.bias.detach(), torch.full((3,), -16.0))


class Doubled(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def test_parametrisations_stay_and_come_off():
    layer = INSTANCE(3, affine=True)
    parametrize.register_parametrization(layer, "weight", Doubled())
    original, other = layer.parametrizations.weight.original, copy.deepcopy(layer)
    it.convert(layer)
    assert isinstance(layer, it.InstanceNorm1d) and not isinstance(other, it.InstanceNorm1d)
    assert layer.parametrizations.weight.original is original
    x = torch.randn(2, 3, 8)
    oracle.assert_close(layer(x), oracle.exact(x, torch.full((3,), 2.0)))
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is it.InstanceNorm1d and layer.weight[0] == 2
    parametrize.register_parametrization(layer, "weight", Doubled())
    assert type(it.convert(layer)).__mro__[1] is it.InstanceNorm1d


class Described(INSTANCE):
    """Adds nothing to how it computes."""

    def describe(self):
        return f"of {self.num_features}"


class Scaled(INSTANCE):
    def forward(self, input):
        return 3 * super().forward(input)


class Normed(GROUP):
    def forward(self, input):
        return super().forward(input.float()).type_as(input)


def test_subclasses():
    model = torch.nn.Sequential(Described(3), Scaled(3), Normed(3, 3))
    with pytest.warns(UserWarning, match=r"left alone.*1 \(Scaled\), 2 \(Normed\)") as caught:
        it.convert(model)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert isinstance(model[0], Described) and isinstance(model[0], it.InstanceNorm1d)
    assert model[0].describe() == "of 3" and repr(model[0]) == repr(Described(3))
    assert [type(m) for m in model[1:]] == [Scaled, Normed]
    for twin in (copy.deepcopy(model[0]), pickle.loads(pickle.dumps(model[0]))):
        assert type(twin) is type(model[0]) and twin.state_dict() == {}
    assert type(it.convert(Described(4))) is type(model[0])


def test_nothing_but_modules():
    with pytest.raises(TypeError, match=r"\[convert\] module must be a torch.nn.Module, got list"):
        it.convert([INSTANCE(3)])


GROUPED = dict(num_groups=4, num_channels=4)


@pytest.mark.parametrize("affine", [False, True])
def test_group_norm_of_rows(affine):
    plain = GROUP(**GROUPED, affine=affine)
    mine = it.convert(copy.deepcopy(plain))
    assert repr(mine).split("(")[1] == repr(plain).split("(")[1]
    assert list(mine.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(mine.state_dict()), mine.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 500) + 1e5
    expected = oracle.exact(x, plain.weight, plain.bias)
    oracle.assert_close(mine(x), expected)
    assert (plain(x).double() - expected).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 1), (1, 4, 1), (2, 4, 3, 5), (2, 3, 8), (0, 4, 8), (2, 4, 0), (4,)], ids=str)
def test_group_norm_of_other_inputs_is_pytorchs(shape):
    def outcome(layer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return layer(x)
            except Exception as error:
                return type(error), str(error)

    x = torch.randn(shape)
    found, expected = outcome(it.convert(GROUP(**GROUPED))), outcome(GROUP(**GROUPED))
    if isinstance(expected, tuple):
        assert found == expected
    else:
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("x", oracle.FLOATS)
@pytest.mark.parametrize("parameters", oracle.FLOATS)
def test_group_norm_of_every_pair_of_dtypes(x, parameters):
    plain = GROUP(**GROUPED, dtype=parameters)
    mine = it.convert(copy.deepcopy(plain))
    try:
        expected = plain(torch.randn(2, 4, 8).to(x))
    except RuntimeError as error:
        with pytest.raises(RuntimeError) as caught:
            mine(torch.randn(2, 4, 8).to(x))
        assert str(caught.value) == str(error)
    else:
        assert mine(torch.randn(2, 4, 8).to(x)).dtype == expected.dtype


@pytest.mark.skipif(
    not hasattr(torch.compiler, "is_exporting"),
    reason="PyTorch 2.6 does not tell strict export from torch.compile",
)
def test_group_norm_exported_is_group_norm():
    mine = it.convert(GROUP(**GROUPED))
    program = torch.export.export(mine, (torch.randn(2, 4, 8),))
    assert "aten.group_norm.default" in {str(n.target) for n in program.graph.nodes}
    elsewhere = it.convert(GROUP(**GROUPED, device="meta"))
    assert elsewhere(torch.empty(2, 4, 8, device="meta")).device.type == "meta"
    compiled = torch.compile(mine, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 4, 80)
    torch.testing.assert_close(compiled(x), mine(x), rtol=0, atol=0)


class FeatureExtractor(torch.nn.Module):
    """The first layers of wav2vec 2.0."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(1, 8, 10, stride=5, bias=False)
        self.layer_norm = GROUP(num_groups=8, num_channels=8, affine=True)
        self.rest = torch.nn.Sequential(torch.nn.GELU(), torch.nn.Conv1d(8, 4, 3, stride=2))

    def forward(self, x):
        return self.rest(self.layer_norm(self.conv(x)))


def test_a_feature_extractor_gives_the_same():
    model, audio = FeatureExtractor(), torch.randn(2, 1, 4000)
    twin = copy.deepcopy(model)
    it.convert(model)
    torch.testing.assert_close(model(audio), twin(audio), rtol=1e-5, atol=1e-5)
    model(audio).square().mean().backward(), twin(audio).square().mean().backward()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)
