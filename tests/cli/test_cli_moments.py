"""instnorm moments and denormalize."""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import cli_oracle as oracle


@pytest.fixture(autouse=True)
def the_same_numbers_in_any_order_of_tests():
    global RNG
    RNG = np.random.default_rng(4)


def lines(text):
    """The table as {first word: other words}, its head left out."""
    return {words[0]: words[1:] for words in map(str.split, text.splitlines()[2:])}


def test_the_table(run, tmp_path):
    x = RNG.normal(size=(8, 4, 100)).astype(np.float32) * [[1], [10], [0], [1]] + [[0], [5], [2.5], [-1e4]]
    x[3, 0, 9] = np.nan
    x[4, 0, 1] = np.inf
    x[5, 1] = 7
    np.save(tmp_path / "x.npy", x)
    for env in {}, {"INSTNORM_BLOCK_BYTES": "1"}:
        text = run("moments", tmp_path / "x.npy", env=env).text
        assert text.splitlines()[0] == "float64 (8, 4, 100): N = 8, C = 4, L = 100"
        assert text.splitlines()[1].split() == ["channel", "rows", "mean", "std", "constant", "NaN/Inf"]
        table = lines(text)
        assert list(table) == ["0", "1", "2", "3", "all"]
        good = np.isfinite(x).all(-1)
        for c, (rows, mean, std, constant, bad) in table.items():
            part = x if c == "all" else x[:, [int(c)]]
            values = part[good if c == "all" else good[:, [int(c)]]]
            assert int(rows) == part.shape[0] * part.shape[1]
            np.testing.assert_allclose(float(mean), values.mean(), rtol=1e-5, atol=1e-12)
            np.testing.assert_allclose(float(std), values.std(), rtol=1e-5, atol=1e-12)
        assert [table[c][3] for c in table] == ["0", "1", "8", "0", "9"]
        assert [table[c][4] for c in table] == ["2", "0", "0", "0", "2"]


def test_many_channels_are_one_line(run, tmp_path):
    np.save(tmp_path / "x.npy", RNG.normal(size=(2, 100, 5)))
    table = lines(run("moments", tmp_path / "x.npy").text)
    assert list(table) == ["all"] and table["all"][0] == "200"


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0), (0, 4), (2**40, 3, 0)], ids=str)
def test_a_file_without_values(run, tmp_path, shape):
    with open(tmp_path / "x.npy", "wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": shape})
    assert "no values" in run("moments", tmp_path / "x.npy").text


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64],
                         ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [(3, 9), (5, 3, 9), (5, 3, 2, 4), (5, 3, 1)], ids=str)
@pytest.mark.parametrize("order", "CF")
def test_the_file(run, tmp_path, dtype, shape, order):
    x = np.asarray(RNG.normal(2, 1, shape).astype(dtype), order=order)
    np.save(tmp_path / "x.npy", x)
    want = oracle.moments(x)
    written = set()
    for number, env in enumerate([{}, {"INSTNORM_BLOCK_BYTES": "1"}]):
        path = tmp_path / f"m{number}"
        run("moments", tmp_path / "x.npy", "-o", path, env=env)
        m = load_file(path)
        assert m.keys() == want.keys()
        for name in m:
            assert m[name].dtype == np.float64 and m[name].shape == want[name].shape
            # Sums of deviations from a centre near the mean, of a size around 1, lose a few units.
            unit = 2.0**-49 if dtype == np.float64 else 2.0**-20
            assert (np.abs(m[name] - want[name]) <= unit * (1 + np.abs(want[name]))).all()
        written.add(path.read_bytes())
    assert len(written) == 1


def test_the_file_is_what_apply_saves(run, tmp_path):
    np.save(tmp_path / "x.npy", RNG.normal(2, 1, (5, 3, 9)).astype(np.float32))
    run("moments", "x.npy", "-o", "a", cwd=tmp_path)
    run("apply", "x.npy", "y.npy", "--save-moments", "b", cwd=tmp_path)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [(3, 9), (5, 3, 9), (5, 3, 2, 4), (5, 3, 0)], ids=str)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("state", [False, True], ids=["plain", "state"])
def test_there_and_back(run, tmp_path, dtype, shape, order, state):
    x = np.asarray(RNG.normal(2, 3, shape).astype(dtype), order=order)
    np.save(tmp_path / "x.npy", x)
    flags = ["--eps", "0.25"]
    if state:
        save_file({"a.weight": np.array([1, -2, 0.5], np.float32), "a.bias": np.array([1, 0, -3], np.float32)},
                  tmp_path / "s")
        flags += ["--state", "s", "--prefix", "a"]
    run("apply", "x.npy", "y.npy", "--save-moments", "m", *flags, cwd=tmp_path)
    if order == "F":
        np.save(tmp_path / "y.npy", np.asfortranarray(np.load(tmp_path / "y.npy")))
    for env in {}, {"INSTNORM_BLOCK_BYTES": "1"}:
        run("denormalize", "y.npy", "z.npy", "--moments", "m", "--force", *flags, cwd=tmp_path, env=env)
        z = np.load(tmp_path / "z.npy")
        assert z.dtype == dtype and z.shape == shape
        # y, up to 6 with its bias, was rounded, and the way back magnifies that by up to std / 0.5 = 10;
        # then x, up to 12, is rounded.
        assert (np.abs(z.astype(np.float64) - x) <= 100 * np.finfo(dtype).eps).all()


def test_denormalize_by_moments_of_another_shape(run, tmp_path):
    np.save(tmp_path / "y.npy", RNG.normal(2, 3, (5, 3, 9)))
    save_file({name: np.ones((5, 4)) for name in ["count", "mean", "m2"]}, tmp_path / "m")
    done = run("denormalize", "y.npy", "z.npy", "--moments", "m", status=1, cwd=tmp_path)
    assert "m: " in done.error and "(5, 3)" in done.error and "(5, 4)" in done.error
    assert not (tmp_path / "z.npy").exists()
