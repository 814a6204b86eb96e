"""instnorm apply: --data-format, --lengths, --mask, --nan-policy, --activation."""

import itertools
import math
import pathlib
import re

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import cli_oracle as oracle

ROOT = pathlib.Path(__file__).resolve().parents[2]
N, C, L = 7, 3, 20
ONE_BY_ONE = {"INSTNORM_BLOCK_BYTES": "1"}
THREE = {"INSTNORM_BLOCK_BYTES": str(3 * (C * L * 4 + C * 24 + 8))}
erf = np.vectorize(math.erf, otypes=[np.float64])
ACTIVATIONS = {
    None: lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "gelu": lambda z: z / 2 * (1 + erf(z.astype(np.float64) / 2**0.5)),
    "gelu_tanh": lambda z: z / (1 + np.exp(-((8 / np.pi) ** 0.5) * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + np.exp(-z)),
}


def definition(x, there, omit=False, activation=None, weight=None, bias=None):
    """Of (N, C, L), row by row."""
    y = np.zeros(x.shape)
    for n, c in np.ndindex(x.shape[:2]):
        counted = there[n, c] & ~np.isnan(x[n, c]) if omit else there[n, c]
        values = x[n, c][counted].astype(np.longdouble)
        if omit:
            y[n, c][there[n, c]] = np.nan
        xhat = (values - values.mean()) / np.sqrt(values.var() + 1e-5) if len(values) > 1 else 0 * values
        z = xhat * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
        y[n, c][counted] = ACTIVATIONS[activation](z)
    return y


def assert_right(got, want, dtype):
    got = np.asarray(got).astype(np.float64)
    assert (np.isnan(got) == np.isnan(want)).all()
    oracle.assert_close(np.nan_to_num(got), np.nan_to_num(want), dtype)


class World:
    """Files of one problem: x.npy, l.npy, m.npy in a folder."""

    def __init__(self, folder, dtype=np.float32, last=False, nan=False):
        self.folder, self.last, self.dtype = folder, last, dtype
        rng = np.random.default_rng(11)
        self.x = (3 + rng.normal(size=(N, C, L))).astype(dtype)
        self.lengths = np.array([20, 0, 7, 1, 2, 19, 20])
        self.mask = rng.random((N, C, L)) < 0.6
        if nan:
            self.x[rng.random(self.x.shape) < 0.1] = np.nan
        self.save("x.npy", self.x)

    def swap(self, a):
        return a.swapaxes(-1, -2) if self.last and a.ndim > 1 else a

    def save(self, name, array, swapped=True):
        array = self.swap(array) if swapped else array
        np.save(self.folder / name, array.view("V2") if array.dtype == ml_dtypes.bfloat16 else array)

    @property
    def y(self):
        y = np.load(self.folder / "y.npy")
        return self.swap(y.view(self.dtype) if y.dtype.kind == "V" else y)

    def words(self, *words):
        return ["apply", "x.npy", "y.npy", "--force", *(["--data-format", "NLC"] if self.last else []), *words]

    def there(self, where):
        if where == "lengths":
            self.save("l.npy", self.lengths)
            return ["--lengths", "l.npy"], np.broadcast_to(np.arange(L) < self.lengths[:, None, None], self.x.shape)
        if where is None:
            return [], np.ones(self.x.shape, bool)
        mask = self.mask if where == "(N, C, L)" else self.mask[:, :1]
        self.save("m.npy", *((mask[:, 0], False) if where == "(N, L)" else (mask,)))
        return ["--mask", "m.npy"], np.broadcast_to(mask, self.x.shape)


WHERE = [None, "lengths", "(N, L)", "(N, 1, L)", "(N, C, L)"]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("last", [False, True], ids=["NCL", "NLC"])
@pytest.mark.parametrize("where", WHERE, ids=str)
def test_every_combination(run, tmp_path, dtype, last, where):
    for policy, activation in itertools.product(["propagate", "omit"], [None, "gelu"]):
        world = World(tmp_path, dtype, last, policy == "omit")
        words, there = world.there(where)
        if where:
            world.x[~there] = np.nan  # has no effect
            world.save("x.npy", world.x)
        run(*world.words(*words, "--nan-policy", policy, *(["--activation", activation] if activation else [])),
            cwd=tmp_path)
        assert world.y.dtype == dtype
        assert_right(world.y, definition(world.x, there, policy == "omit", activation), dtype)


@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a])
def test_activations(run, tmp_path, activation):
    world = World(tmp_path)
    weight, bias = np.float32([1, -1, 0.5]), np.float32([0, 0.5, -1])
    save_file({"weight": weight, "bias": bias}, tmp_path / "s")
    run(*world.words("--activation", activation, "--state", "s"), cwd=tmp_path)
    there = np.ones(world.x.shape, bool)
    assert_right(world.y, definition(world.x, there, False, activation, weight, bias), np.float32)


@pytest.mark.parametrize("dtype", ["<i4", "<i8", ">i4", ">i8"])
def test_lengths_of_every_integer(run, tmp_path, dtype):
    world = World(tmp_path)
    words, there = world.there("lengths")
    np.save(tmp_path / "l.npy", world.lengths.astype(dtype))
    run(*world.words(*words), cwd=tmp_path)
    assert_right(world.y, definition(world.x, there), np.float32)


@pytest.mark.parametrize("last", [False, True], ids=["NCL", "NLC"])
@pytest.mark.parametrize("where", WHERE, ids=str)
def test_blocks_and_orders_do_not_change_a_bit(run, tmp_path, where, last):
    world = World(tmp_path, last=last, nan=True)
    words, _ = world.there(where)
    written = set()
    for order, env in itertools.product("CF", [{}, THREE, ONE_BY_ONE]):
        for name in ["x.npy", "m.npy"]:
            if (tmp_path / name).exists():
                np.save(tmp_path / name, np.asarray(np.load(tmp_path / name), order=order))
        run(*world.words(*words, "--nan-policy", "omit", "--save-moments", "moments"), env=env, cwd=tmp_path)
        written.add(((tmp_path / "y.npy").read_bytes(), (tmp_path / "moments").read_bytes()))
    assert len(written) == 1


def test_more_threads_do_not_change_a_bit(run, tmp_path):
    rng = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", rng.normal(size=(1, 2, 100_000)).astype(np.float32))
    np.save(tmp_path / "m.npy", rng.random((1, 100_000)) < 0.5)
    written = set()
    for k in "123":
        run("apply", "x.npy", "y.npy", "--force", "--mask", "m.npy", "--activation", "silu", "--threads", k, cwd=tmp_path)
        written.add((tmp_path / "y.npy").read_bytes())
    assert len(written) == 1


def test_the_manuals_commands_on_real_data(run, manual, tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    motions, vowels, co2 = (np.load(ROOT / "data" / f"{name}.npy") for name in ("basic_motions", "japanese_vowels", "co2"))
    np.save(tmp_path / "motions_nlc.npy", motions.swapaxes(1, 2))
    commands = re.findall(r"^    \$ instnorm ((?:apply|denormalize) .*(?:data/|co2|motions_nlc).*)$", manual, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        run(*command.split(), cwd=tmp_path)
    got = {name: np.load(tmp_path / f"{name}.npy") for name in ("vowels", "active", "co2", "back", "motions")}
    lengths = np.load(ROOT / "data" / "japanese_vowels_lengths.npy")
    there = np.broadcast_to(np.arange(vowels.shape[2]) < lengths[:, None, None], vowels.shape)
    assert_right(got["vowels"], definition(vowels, there), np.float32)
    assert_right(got["active"], definition(vowels, there, activation="relu"), np.float32)
    assert_right(got["co2"], definition(co2, np.ones(co2.shape, bool), omit=True), np.float32)
    assert_right(got["motions"].swapaxes(1, 2), definition(motions, np.ones(motions.shape, bool)), np.float32)
    # 2e-6 of |x| + std: the promise of the way back.
    np.testing.assert_allclose(got["back"], co2, rtol=0, atol=2e-6 * (np.nanmax(co2) + np.nanstd(co2)))


@pytest.mark.parametrize("last", [False, True], ids=["NCL", "NLC"])
def test_one_instance(run, tmp_path, last):
    world = World(tmp_path, last=last)
    x, mask = world.x[0], world.mask[0]
    world.save("x.npy", x)
    world.save("l.npy", np.array([7]))
    run(*world.words("--lengths", "l.npy"), cwd=tmp_path)
    assert_right(world.y, definition(x[None], np.arange(L) < np.full((1, C, 1), 7))[0], np.float32)
    for m in [mask, mask[None]]:
        world.save("m.npy", m)
        run(*world.words("--mask", "m.npy"), cwd=tmp_path)
        assert_right(world.y, definition(x[None], mask[None])[0], np.float32)
    np.save(tmp_path / "m.npy", mask[:1])
    run(*world.words("--mask", "m.npy"), cwd=tmp_path)
    assert_right(world.y, definition(x[None], np.broadcast_to(mask[:1], (1, C, L)))[0], np.float32)


def test_more_dimensions(run, tmp_path):
    world = World(tmp_path, last=True)
    np.save(tmp_path / "x.npy", world.x.swapaxes(1, 2).reshape(N, 4, 5, C))
    np.save(tmp_path / "m.npy", world.mask[:, 0].reshape(N, 4, 5))
    run(*world.words("--mask", "m.npy"), cwd=tmp_path)
    want = definition(world.x, np.broadcast_to(world.mask[:, :1], world.x.shape))
    assert_right(np.load(tmp_path / "y.npy").reshape(N, L, C).swapaxes(1, 2), want, np.float32)


def test_running_statistics_leave_short_rows_out(run, tmp_path):
    world = World(tmp_path)
    words, there = world.there("lengths")
    state = {"running_mean": np.zeros(C), "running_var": np.ones(C)}
    save_file(state, tmp_path / "s")
    for env in [{}, ONE_BY_ONE]:
        run(*world.words(*words, "--state", "s", "--train", "--momentum", "1", "--save-state", "t"), cwd=tmp_path, env=env)
        new = load_file(tmp_path / "t")
        rows = [[world.x[n, c][there[n, c]].astype(np.float64) for n in range(N) if world.lengths[n] > 1] for c in range(C)]
        np.testing.assert_allclose(new["running_mean"], [np.mean([r.mean() for r in of_c]) for of_c in rows], rtol=1e-6)
        np.testing.assert_allclose(new["running_var"], [np.mean([r.var(ddof=1) for r in of_c]) for of_c in rows], rtol=1e-5)
    # By running statistics the rows of one value are ordinary ones.
    run(*world.words(*words, "--state", "s"), cwd=tmp_path)
    assert_right(world.y, np.where(there, world.x / np.sqrt(1 + 1e-5), 0).astype(np.float64), np.float32)


def test_there_and_back_with_channels_last(run, tmp_path):
    world = World(tmp_path, np.float64, last=True)
    run(*world.words("--save-moments", "m"), cwd=tmp_path)
    assert load_file(tmp_path / "m")["mean"].shape == (N, C)
    run("denormalize", "y.npy", "back.npy", "--moments", "m", "--data-format", "NLC", cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "back.npy"), np.load(tmp_path / "x.npy"), rtol=0, atol=1e-13)
    text = run("moments", "x.npy", "-o", "own", "--data-format", "NLC", cwd=tmp_path).text
    assert f"N = {N}, C = {C}, L = {L}" in text
    assert (tmp_path / "own").read_bytes() == (tmp_path / "m").read_bytes()


def test_explain(run, tmp_path):
    world = World(tmp_path, last=True)
    words, _ = world.there("lengths")
    text = run(*world.words(*words, "--explain"), cwd=tmp_path, env=THREE).text
    assert "values   by lengths (l.npy)\n" in text and "3 blocks of up to 3 instances" in text
    assert f"N=3 C={C} L={L} float32" in text and "columns of memory" in text


LENGTHS = {
    "floats": (np.ones(N), "lengths must be int32 or int64, got dtype '<f8'"),
    "unsigned": (np.ones(N, np.uint32), "lengths must be int32 or int64, got dtype '<u4'"),
    "narrow": (np.ones(N, np.int16), "lengths must be int32 or int64, got dtype '<i2'"),
    "bool": (np.ones(N, bool), "lengths must be int32 or int64, got dtype '|b1'"),
    "too few": (np.ones(N - 1, int), "lengths must have shape (N,) = (7,), got (6,)"),
    "two dimensions": (np.ones((N, 1), int), "lengths must have shape (N,) = (7,), got (7, 1)"),
    "ten dimensions": (np.ones((1,) * 10, int), "lengths must have shape (N,) = (7,), got 10 dimensions"),
    "no dimensions": (np.array(3), "lengths must have shape (N,) = (7,), got ()"),
    "above L": (np.array([20, 3, 3, 3, 3, 21, 3]), "lengths must be from 0 to L = 20, got 21 at n = 5"),
    "below 0": (np.array([20, 3, 3, 3, 3, 3, -1], np.int32), "lengths must be from 0 to L = 20, got -1 at n = 6"),
}
MASKS = {
    "floats": (np.ones((N, L)), "mask must be bool, got dtype '<f8'"),
    "bytes": (np.ones((N, L), np.uint8), "mask must be bool, got dtype '|u1'"),
    "one for all": (np.ones((1, L), bool), "mask must have shape (7, 20), (7, 1, 20) or (7, 3, 20), got (1, 20)"),
    "without N": (np.ones(L, bool), "mask must have shape (7, 20), (7, 1, 20) or (7, 3, 20), got (20,)"),
    "channels last": (np.ones((N, L, C), bool), "got (7, 20, 3)"),
    "ten dimensions": (np.ones((1,) * 10, bool), "got 10 dimensions"),
}


@pytest.mark.parametrize("option, name, array, said", [
    *(("--lengths", name, *case) for name, case in LENGTHS.items()),
    *(("--mask", name, *case) for name, case in MASKS.items()),
], ids=str)
def test_what_does_not_fit(run, tmp_path, option, name, array, said):
    world = World(tmp_path)
    np.save(tmp_path / "a.npy", array)
    done = run(*world.words(option, "a.npy"), status=1, cwd=tmp_path, env=ONE_BY_ONE)
    assert done.error == f"instnorm: a.npy: {said}\n" or (said.startswith("got") and done.error.endswith(said + "\n"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "x.npy"]


def test_files_that_cannot_be_read(run, tmp_path):
    world = World(tmp_path)
    assert "no.npy: No such file" in run(*world.words("--mask", "no.npy"), status=1, cwd=tmp_path).error
    np.save(tmp_path / "l.npy", world.lengths)
    with open(tmp_path / "l.npy", "r+b") as f:
        f.truncate(150)
    assert "l.npy: the file ends early" in run(*world.words("--lengths", "l.npy"), status=1, cwd=tmp_path).error


def test_lengths_need_one_dimension(run, tmp_path):
    world = World(tmp_path)
    np.save(tmp_path / "x.npy", world.x.reshape(N, C, 4, 5))
    np.save(tmp_path / "l.npy", world.lengths)
    done = run(*world.words("--lengths", "l.npy"), status=1, cwd=tmp_path)
    assert "lengths needs x of 2 or 3 dimensions, got shape (7, 3, 4, 5)" in done.error


@pytest.mark.parametrize("env", [{}, THREE, ONE_BY_ONE], ids=["one block", "three", "one by one"])
def test_raise_names_the_row_in_the_file(run, tmp_path, env):
    world = World(tmp_path)
    world.x[5, 2, 19] = np.nan
    world.save("x.npy", world.x)
    done = run(*world.words("--nan-policy", "raise"), status=1, cwd=tmp_path, env=env)
    assert done.error == 'instnorm: x.npy: [instance_norm] x has a NaN at n = 5, c = 2, and nan_policy is "raise"\n'
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]
    words, there = world.there("lengths")
    run(*world.words(*words, "--nan-policy", "raise"), cwd=tmp_path, env=env)
    assert_right(world.y, definition(world.x, there), np.float32)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0), (2, 0, 5)], ids=str)
def test_empty_files(run, tmp_path, shape):
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    np.save(tmp_path / "l.npy", np.zeros(shape[0], int))
    np.save(tmp_path / "m.npy", np.ones((shape[0], shape[2]), bool))
    for words in ["--lengths", "l.npy"], ["--mask", "m.npy"]:
        run("apply", "x.npy", "y.npy", "--force", *words, cwd=tmp_path)
        assert np.load(tmp_path / "y.npy").shape == shape


def test_rows_of_one_value(run, tmp_path):
    np.save(tmp_path / "x.npy", np.float32([[[3]], [[4]]]))
    np.save(tmp_path / "l.npy", np.array([1, 0]))
    assert "more than 1 value" in run("apply", "x.npy", "y.npy", status=1, cwd=tmp_path).error
    run("apply", "x.npy", "y.npy", "--lengths", "l.npy", cwd=tmp_path)
    assert not np.load(tmp_path / "y.npy").any()
