"""State files go from PyTorch to the C++ module and back, and both then compute the same.

Tolerances: u is the unit roundoff of the dtype. PyTorch rounds mean, rstd, rstd * weight and
bias - mean * rstd * weight to the dtype of the layer, and the result once more, so its error in y
is a few u of |mean * rstd * weight| + |xhat * weight| + |bias|; ours is far below. Eight covers
both.
"""

import itertools
import subprocess

import pytest
from optional import pytorchs_layer

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

WORDS = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}
C, EPS, MOMENTUM = 5, 1e-3, 0.3

# affine, bias, track_running_stats; a bias without affine is no bias.
LAYERS = list(itertools.product([True, False], repeat=3))


@pytest.fixture
def module_io(build_dir, tmp_path):
    program = build_dir / "tests" / "module_io"
    assert program.is_file(), f"{program} is missing: build the tests"

    def run(layer, dtype, *commands):
        affine, bias, track = layer
        options = [C, EPS, MOMENTUM, int(affine), int(bias), int(track), WORDS[dtype]]
        return subprocess.run(
            [program, *map(str, options), *map(str, commands)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def succeed(result):
    assert result.returncode == 0, result.stderr


def make(layer, dtype, seed=0):
    """A layer of PyTorch's whose state is all but the default."""
    affine, bias, track = layer
    module = pytorchs_layer(
        C, EPS, MOMENTUM, affine=affine, track_running_stats=track, dtype=dtype, bias=bias
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name == "num_batches_tracked":
                value.fill_(2**40 + 1)
            else:
                value.copy_(torch.rand(value.shape, generator=generator, dtype=torch.float64) + 0.5)
    return module


def make_input(shape, dtype, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 1).to(dtype)


def scale(x, module, instance):
    """y, and |mean * rstd * weight| + |xhat * weight| + |bias|, in float64."""
    x = x.double()
    if instance:
        mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    else:
        mean, var = module.running_mean.double()[:, None], module.running_var.double()[:, None]
    rstd = (var + EPS).rsqrt()
    weight = 1.0 if module.weight is None else module.weight.detach().double()[:, None]
    bias = 0.0 if module.bias is None else module.bias.detach().double()[:, None]
    y = (x - mean) * rstd * weight + bias
    size = (mean * rstd * weight).abs() + ((x - mean) * rstd * weight).abs() + abs(bias)
    return y, size


def assert_near(got, want, tolerance):
    assert got.shape == want.shape
    excess = (got.double() - want.double()).abs() - tolerance
    assert (excess <= 0).all(), f"beyond the tolerance by {excess.max().item()}"


@pytest.mark.parametrize("dtype", WORDS, ids=str)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_state_goes_both_ways(module_io, tmp_path, layer, dtype):
    module = make(layer, dtype)
    safetensors_torch.save_file(module.state_dict(), tmp_path / "in.safetensors", {"format": "pt"})
    succeed(module_io(layer, dtype, "load", "in.safetensors", "save", "out.safetensors"))

    loaded = safetensors_torch.load_file(tmp_path / "out.safetensors")
    fresh = make(layer, dtype, seed=7)
    fresh.load_state_dict(loaded, strict=True)
    for name, value in module.state_dict().items():
        assert loaded[name].dtype == value.dtype and loaded[name].shape == value.shape
        assert torch.equal(fresh.state_dict()[name], value), name
    # The reference implementation writes the very same file.
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "in.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", WORDS, ids=str)
@pytest.mark.parametrize("track", [True, False], ids=["tracked", "untracked"])
def test_a_new_module_has_pytorchs_state(module_io, tmp_path, track, dtype):
    layer = (True, True, track)
    succeed(module_io(layer, dtype, "save", "new.safetensors"))
    loaded = safetensors_torch.load_file(tmp_path / "new.safetensors")
    new = torch.nn.InstanceNorm1d(C, affine=True, track_running_stats=track, dtype=dtype)
    want = new.state_dict()
    assert set(loaded) == set(want)
    for name, value in want.items():
        assert torch.equal(loaded[name], value) and loaded[name].dtype == value.dtype


@pytest.mark.parametrize("shape", [(3, C, 17), (C, 40)], ids=str)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("dtype", WORDS, ids=str)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_values_are_pytorchs(module_io, tmp_path, layer, dtype, mode, shape):
    module = make(layer, dtype)
    module.train(mode == "train")
    x = make_input(shape, dtype)
    safetensors_torch.save_file(module.state_dict(), tmp_path / "m.safetensors")
    safetensors_torch.save_file({"x": x}, tmp_path / "x.safetensors")
    files = ["x.safetensors", "y.safetensors"]
    succeed(module_io(layer, dtype, "load", "m.safetensors", mode, "forward", *files))
    y = safetensors_torch.load_file(tmp_path / "y.safetensors")["y"]
    assert y.dtype == dtype

    want, size = scale(x, module, instance=module.training or not module.track_running_stats)
    u = torch.finfo(dtype).eps / 2
    assert_near(y, module(x).detach(), 8 * u * size)
    # Ours is closer: float32 throughout, and one rounding to the dtype.
    compute = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps / 2
    assert_near(y, want, u * want.abs() * (1 + u) + 8 * compute * size)


@pytest.mark.parametrize("input_dtype", [torch.float16, torch.bfloat16], ids=str)
def test_sixteen_bit_input_in_a_float32_layer(module_io, tmp_path, input_dtype):
    layer = (True, True, True)
    module = make(layer, torch.float32)
    x = make_input((3, C, 17), input_dtype)
    safetensors_torch.save_file(module.state_dict(), tmp_path / "m.safetensors")
    safetensors_torch.save_file({"x": x}, tmp_path / "x.safetensors")
    commands = ["load", "m.safetensors", "forward", "x.safetensors", "y.safetensors"]
    succeed(module_io(layer, torch.float32, *commands, "save", "after.safetensors"))
    y = safetensors_torch.load_file(tmp_path / "y.safetensors")["y"]
    _, size = scale(x, module, instance=True)
    assert_near(y, module(x).detach(), 8 * torch.finfo(input_dtype).eps / 2 * size)
    after = safetensors_torch.load_file(tmp_path / "after.safetensors")
    for name in ("running_mean", "running_var"):
        want = module.state_dict()[name]
        # The sum of 17 values, the update and the mean over 3: fewer than 32 roundings of float32.
        assert_near(after[name], want, 32 * 2**-24 * (1 + want.abs()))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", WORDS, ids=str)
def test_running_statistics_after_training(module_io, tmp_path, dtype, affine):
    layer, steps = (affine, True, True), 4
    module = make(layer, dtype)
    safetensors_torch.save_file(module.state_dict(), tmp_path / "before.safetensors")
    commands = ["load", "before.safetensors", "train"]
    largest = 1.0
    for step in range(steps):
        x = make_input((3, C, 17), dtype, seed=step)
        largest = max(largest, (x.double() ** 2).mean(-1).max().item())
        safetensors_torch.save_file({"x": x}, tmp_path / f"x{step}.safetensors")
        commands += ["forward", f"x{step}.safetensors", "y.safetensors"]
        module(x)
    succeed(module_io(layer, dtype, *commands, "save", "after.safetensors"))

    after = safetensors_torch.load_file(tmp_path / "after.safetensors")
    want = module.state_dict()
    assert torch.equal(after["num_batches_tracked"], want["num_batches_tracked"])
    # A step rounds the statistic, its product, the old value's, their sum, and the mean over N:
    # five roundings in PyTorch, at most as many in ours, of numbers no larger than a second moment.
    tolerance = steps * 2 * 5 * torch.finfo(dtype).eps / 2 * largest
    for name in ("running_mean", "running_var"):
        assert not torch.equal(want[name], make(layer, dtype).state_dict()[name])
        assert_near(after[name], want[name], torch.tensor(tolerance))
    for name in ("weight", "bias") if affine else ():
        assert torch.equal(after[name], want[name])


def test_a_file_from_before_pytorch_0_4(module_io, tmp_path):
    """It has running statistics and no counter, and states no version."""
    tracked = make((True, True, True), torch.float32)
    old = {k: v for k, v in tracked.state_dict().items() if k != "num_batches_tracked"}
    safetensors_torch.save_file(old, tmp_path / "old.safetensors")

    commands = ["load", "old.safetensors", "save", "new.safetensors"]
    succeed(module_io((True, True, True), torch.float32, *commands))
    make((True, True, True), torch.float32).load_state_dict(old, strict=True)  # so does PyTorch
    new = safetensors_torch.load_file(tmp_path / "new.safetensors")
    assert new.pop("num_batches_tracked") == 0
    assert all(torch.equal(new[k], old[k]) for k in old)

    refused = module_io((True, True, False), torch.float32, "load", "old.safetensors")
    assert refused.returncode == 1 and "track_running_stats" in refused.stderr
    with pytest.raises(RuntimeError, match="track_running_stats"):
        make((True, True, False), torch.float32).load_state_dict(old)


@pytest.mark.parametrize("metadata", [None, {"": "", "k\n": 'quote "'}])
def test_metadata_does_no_harm(module_io, tmp_path, metadata):
    layer = (True, False, True)
    state = make(layer, torch.float32).state_dict()
    safetensors_torch.save_file(state, tmp_path / "m.safetensors", metadata)
    succeed(module_io(layer, torch.float32, "load", "m.safetensors"))
