"""instnorm apply: values in every mode, and files that are larger than a block."""

import resource

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import cli_oracle as oracle

TINY_BLOCKS = {"INSTNORM_BLOCK_BYTES": "1"}


@pytest.fixture(autouse=True)
def the_same_numbers_in_any_order_of_tests():
    global RNG
    RNG = np.random.default_rng(2)


@pytest.fixture
def files(tmp_path):
    class Files:
        folder = tmp_path
        x = (RNG.normal(size=(7, 3, 50)) * [[1], [5], [0.1]] + [[3], [-100], [0]]).astype(np.float32)
        state = {name: RNG.uniform(0.5, 2, 3).astype(np.float32)
                 for name in ["weight", "bias", "running_mean", "running_var"]}
        x_path, y_path, s_path = tmp_path / "x.npy", tmp_path / "y.npy", tmp_path / "s.safetensors"
        y = property(lambda self: np.load(self.y_path))

    np.save(Files.x_path, Files.x)
    save_file({**{f"encoder.norm.{k}": v for k, v in Files.state.items()},
               "encoder.norm.num_batches_tracked": np.array(5),
               "other": np.arange(6, dtype=np.int16).reshape(2, 3),
               "other.empty": np.zeros((0, 4), np.float64)}, Files.s_path)
    return Files()


def assert_statistics_close(got, want, std):
    """Sums of float32 deviations from a centre near the mean, of which a few units are lost; and where
    the result is float32, its rounding."""
    assert (np.abs(got - want) <= 2.0**-20 * (np.abs(want) + std)).all(), np.abs(got - want).max()


def test_default(run, files):
    assert run("apply", files.x_path, files.y_path).text == ""
    oracle.assert_close(files.y, oracle.instance_norm(files.x), np.float32)


def test_eps(run, files):
    run("apply", files.x_path, files.y_path, "--eps", "0.5")
    oracle.assert_close(files.y, oracle.instance_norm(files.x, eps=0.5), np.float32)


@pytest.mark.parametrize("prefix", ["encoder.norm", "encoder.norm."])
@pytest.mark.parametrize("flags", [[], ["--eval"]], ids=["neither flag", "--eval"])
def test_running_statistics_mean_eval(run, files, prefix, flags):
    run("apply", files.x_path, files.y_path, "--state", files.s_path, "--prefix", prefix, *flags)
    s = files.state
    want = oracle.instance_norm(files.x, weight=s["weight"], bias=s["bias"], mean=s["running_mean"],
                                var=s["running_var"])
    oracle.assert_close(files.y, want, np.float32)


def test_without_running_statistics_the_rows_own_are_used(run, files):
    s = {k: files.state[k] for k in ["weight", "bias"]}
    save_file(s, files.s_path)
    run("apply", files.x_path, files.y_path, "--state", files.s_path)
    oracle.assert_close(files.y, oracle.instance_norm(files.x, **s), np.float32)


@pytest.mark.parametrize("names", [["weight"], ["bias"], ["running_mean", "running_var"]], ids=str)
def test_a_state_may_have_any_part(run, files, names):
    s = {k: files.state[k] for k in names}
    save_file(s, files.s_path)
    run("apply", files.x_path, files.y_path, "--state", files.s_path)
    want = oracle.instance_norm(files.x, weight=s.get("weight"), bias=s.get("bias"),
                                mean=s.get("running_mean"), var=s.get("running_var"))
    oracle.assert_close(files.y, want, np.float32)


@pytest.mark.parametrize("stored", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64],
                         ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: np.dtype(d).name)
def test_a_state_may_have_any_float(run, files, dtype, stored):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save
    s = {k: v.astype(stored).astype(np.float64) for k, v in files.state.items()}
    kind = getattr(torch, np.dtype(stored).name)
    save({k: torch.tensor(v).to(kind) for k, v in s.items()}, files.s_path)
    x = files.x.astype(dtype)
    np.save(files.x_path, x)
    run("apply", files.x_path, files.y_path, "--state", files.s_path)
    want = oracle.instance_norm(x, weight=s["weight"], bias=s["bias"], mean=s["running_mean"],
                                var=s["running_var"])
    assert files.y.dtype == dtype
    oracle.assert_close(files.y, want, dtype)


@pytest.mark.parametrize("momentum", [None, "0.3", "1", "0"])
@pytest.mark.parametrize("env", [{}, TINY_BLOCKS], ids=["one block", "a block for each instance"])
def test_train_is_what_pytorch_does(run, files, momentum, env):
    torch = pytest.importorskip("torch")
    out = files.folder / "new.safetensors"
    run("apply", files.x_path, files.y_path, "--state", files.s_path, "--prefix", "encoder.norm",
        "--train", *(["--momentum", momentum] if momentum else []), "--save-state", out, env=env)
    layer = torch.nn.InstanceNorm1d(3, affine=True, track_running_stats=True,
                                    momentum=float(momentum or 0.1))
    layer.load_state_dict({k: torch.tensor(v) for k, v in files.state.items()}, strict=False)
    # In float64, which leaves PyTorch no room for errors of its own at a mean of -100.
    y = layer.double()(torch.tensor(files.x).double()).detach().numpy()
    oracle.assert_close(files.y, y, np.float32)
    old, new = load_file(files.s_path), load_file(out)
    assert old.keys() == new.keys()
    for key in old:
        name = key.removeprefix("encoder.norm.")
        if name.startswith("running_"):
            assert_statistics_close(new[key], getattr(layer, name).numpy(), files.x.std((0, 2)))
        else:
            assert new[key].dtype == old[key].dtype and (new[key] == old[key]).all()


def test_train_without_save_state_leaves_the_state(run, files):
    before = files.s_path.read_bytes()
    run("apply", files.x_path, files.y_path, "--state", files.s_path, "--prefix", "encoder.norm", "--train")
    s = files.state
    oracle.assert_close(files.y, oracle.instance_norm(files.x, weight=s["weight"], bias=s["bias"]), np.float32)
    assert files.s_path.read_bytes() == before


def test_train_in_place(run, files):
    other = files.folder / "new.safetensors"
    train = ["--state", files.s_path, "--prefix", "encoder.norm", "--train"]
    run("apply", files.x_path, files.y_path, *train, "--save-state", other)
    run("apply", files.x_path, files.y_path, *train, "--save-state", files.s_path, "--force")
    assert files.s_path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("tensors, said", [
    ({}, "under the prefix"),
    ({"a.weight": [1, 1, 1], "b.c.bias": [1, 1, 1]}, 'possible prefixes: "a", "b.c"'),
    ({"weight": [1, 1]}, "must have shape (C,) = (3,), got (2,)"),
    ({"weight": [[1, 1, 1]]}, "must have shape (C,) = (3,), got (1, 3)"),
    ({"running_mean": [1, 1, 1]}, "only one"),
], ids=str)
def test_states_that_do_not_fit(run, files, tensors, said):
    save_file({k: np.array(v, np.float32) for k, v in tensors.items()}, files.s_path)
    done = run("apply", files.x_path, files.y_path, "--state", files.s_path, status=1)
    assert done.error.startswith(f"instnorm: {files.s_path}: ") and said in done.error
    assert not files.y_path.exists()


def test_a_state_of_integers_is_refused(run, files):
    save_file({"weight": np.array([1, 2, 3])}, files.s_path)
    assert 'got "I64"' in run("apply", files.x_path, files.y_path, "--state", files.s_path, status=1).error


@pytest.mark.parametrize("flags", [["--eval"], ["--train", "--save-state", "new.safetensors"]], ids=str)
def test_a_state_without_running_statistics(run, files, flags):
    save_file({"weight": files.state["weight"]}, files.s_path)
    done = run("apply", files.x_path, files.y_path, "--state", files.s_path, *flags, status=1, cwd=files.folder)
    assert "running_mean" in done.error
    assert sorted(p.name for p in files.folder.iterdir()) == ["s.safetensors", "x.npy"]


def test_moments_out_and_in(run, files):
    m_path = files.folder / "m.safetensors"
    run("apply", files.x_path, files.y_path, "--save-moments", m_path)
    m, want = load_file(m_path), oracle.moments(files.x)
    assert m.keys() == want.keys()
    for name in m:
        assert m[name].dtype == np.float64 and m[name].shape == (7, 3)
        assert_statistics_close(m[name], want[name], files.x.std(-1))
    other = RNG.normal(size=(7, 3, 20)).astype(np.float32)
    np.save(files.x_path, other)
    for env in {}, TINY_BLOCKS:
        run("apply", files.x_path, files.y_path, "--moments", m_path, "--force", env=env)
        want = oracle.instance_norm(other, mean=m["mean"], var=m["m2"] / m["count"])
        oracle.assert_close(files.y, want, np.float32)


def test_moments_come_before_running_statistics_and_update_them(run, files):
    m = {"count": np.full((7, 3), 10.0), "mean": RNG.normal(size=(7, 3)), "m2": RNG.uniform(5, 10, (7, 3))}
    m_path, new = files.folder / "m.safetensors", files.folder / "new.safetensors"
    save_file(m, m_path)
    s = files.state
    state = ["--state", files.s_path, "--prefix", "encoder.norm"]
    for flags in [], ["--train", "--save-state", new]:
        run("apply", files.x_path, files.y_path, "--force", *state, "--moments", m_path, *flags)
        want = oracle.instance_norm(files.x, weight=s["weight"], bias=s["bias"], mean=m["mean"], var=m["m2"] / 10)
        oracle.assert_close(files.y, want, np.float32)
    np.testing.assert_allclose(load_file(new)["encoder.norm.running_mean"],
                               0.9 * s["running_mean"] + 0.1 * m["mean"].mean(0), rtol=2.0**-23)
    np.testing.assert_allclose(load_file(new)["encoder.norm.running_var"],
                               0.9 * s["running_var"] + 0.1 * (m["m2"] / 9).mean(0), rtol=2.0**-23)


@pytest.mark.parametrize("change, said", [
    (lambda m: m.pop("m2"), 'there is no "m2"'),
    (lambda m: m.update(mean=m["mean"][:6]), "mean must be F64 (7, 3), as the data have N * C rows, got F64 (6, 3)"),
    (lambda m: m.update(count=m["count"].astype(np.float32)), "got F32 (7, 3)"),
], ids=["missing", "shape", "dtype"])
def test_moments_that_do_not_fit(run, files, change, said):
    m = {name: np.ones((7, 3)) for name in ["count", "mean", "m2"]}
    change(m)
    m_path = files.folder / "m.safetensors"
    save_file(m, m_path)
    done = run("apply", files.x_path, files.y_path, "--moments", m_path, status=1)
    assert done.error.startswith(f"instnorm: {m_path}: ") and said in done.error


def test_rank_2_is_one_instance(run, files):
    np.save(files.x_path, files.x[0])
    m_path = files.folder / "m.safetensors"
    run("apply", files.x_path, files.y_path, "--save-moments", m_path)
    oracle.assert_close(files.y, oracle.instance_norm(files.x[0]), np.float32)
    assert load_file(m_path)["mean"].shape == (1, 3)
    run("apply", files.x_path, files.y_path, "--moments", m_path, "--force")
    oracle.assert_close(files.y, oracle.instance_norm(files.x[0]), np.float32)


@pytest.mark.parametrize("shape", [(4, 3, 1), (3, 1)], ids=str)
def test_rows_of_one_value(run, files, shape):
    x = RNG.normal(size=shape).astype(np.float32)
    np.save(files.x_path, x)
    done = run("apply", files.x_path, files.y_path, status=1)
    assert done.error.startswith(f"instnorm: {files.x_path}: ") and "more than 1 value" in done.error
    run("apply", files.x_path, files.y_path, "--state", files.s_path, "--prefix", "encoder.norm")
    s = files.state
    want = oracle.instance_norm(x, weight=s["weight"], bias=s["bias"], mean=s["running_mean"], var=s["running_var"])
    oracle.assert_close(files.y, want, np.float32)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0), (2, 0, 5), (0, 4), (2**40, 3, 0), (1, 2**50, 0)], ids=str)
def test_empty_files(run, files, shape):
    with open(files.x_path, "wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": shape})
    run("apply", files.x_path, files.y_path)
    assert files.y.shape == shape


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0), (2, 0, 5)], ids=str)
def test_moments_and_state_of_empty_files(run, files, shape):
    np.save(files.x_path, np.zeros(shape, np.float32))
    m_path, new = files.folder / "m.safetensors", files.folder / "new.safetensors"
    run("apply", files.x_path, files.y_path, "--save-moments", m_path)
    m = load_file(m_path)
    assert m["count"].shape == shape[:2] and not m["count"].any()
    run("apply", files.x_path, files.y_path, "--force", "--moments", m_path)
    if shape[1] == 3:
        run("apply", files.x_path, files.y_path, "--force", "--state", files.s_path, "--prefix", "encoder.norm",
            "--train", "--save-state", new)
        for name in ["running_mean", "running_var"]:
            assert (load_file(new)[f"encoder.norm.{name}"] == files.state[name]).all()


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: np.dtype(d).name)
def test_blocks_do_not_change_a_bit(run, tmp_path, dtype, order):
    # Rows of every kind: far from 0, constant, with NaN, with infinities.
    x = (RNG.normal(size=(23, 3, 301)) + RNG.choice([0, 1000], (23, 3, 1))).astype(dtype)
    x[5, 1] = 7
    x[6, 2, 9] = np.nan
    x[7, 0, 3] = np.inf
    np.save(tmp_path / "x.npy", np.asarray(x, order=order))
    save_file({"running_mean": np.zeros(3, dtype), "running_var": np.ones(3, dtype)}, tmp_path / "s.safetensors")
    written = set()
    # One instance, some, all; and with one and two threads.
    for number, block in enumerate([1, 2 * x[0].nbytes, 5 * x[0].nbytes + 3, 10**9]):
        outputs = [tmp_path / f"{name}{number}" for name in ["y.npy", "m.safetensors", "s.safetensors"]]
        run("apply", tmp_path / "x.npy", outputs[0], "--save-moments", outputs[1], "--state", tmp_path / "s.safetensors",
            "--train", "--save-state", outputs[2], "--threads", str(1 + number % 2),
            env={"INSTNORM_BLOCK_BYTES": str(block)})
        written.add(tuple(p.read_bytes() for p in outputs))
    assert len(written) == 1
    good = np.isfinite(x.astype(np.float64)).all(-1)
    y = np.load(tmp_path / "y.npy0")
    oracle.assert_close(y[good], oracle.instance_norm(x)[good], dtype)
    assert np.isnan(y[~good]).any(-1).all()


@pytest.mark.parametrize("n", [3, 700, 3000])
def test_fortran_order_of_every_run_length(run, tmp_path, n):
    """Blocks of 2 instances, of runs of n values: read through the gaps, or run by run."""
    x = RNG.normal(size=(n, 2, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", np.asfortranarray(x))
    run("apply", tmp_path / "x.npy", tmp_path / "y.npy", env={"INSTNORM_BLOCK_BYTES": str(2 * (24 + 2 * 24))})
    oracle.assert_close(np.load(tmp_path / "y.npy"), oracle.instance_norm(x), np.float32)


def sparse(path, shape, order_f=False):
    """A file of zeros that takes no room on the disk."""
    with open(path, "wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": order_f, "shape": shape})
        f.truncate(f.tell() + 4 * int(np.prod(shape)))


@pytest.mark.parametrize("order_f", [False, True], ids=["C", "F"])
def test_memory_does_not_grow_with_the_file(plain_memory, run, tmp_path, order_f):
    sparse(tmp_path / "x.npy", (220, 1, 1000 * 1000 // 4), order_f)  # 220 MB

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))

    run("apply", tmp_path / "x.npy", tmp_path / "y.npy", "--threads", "1",
        env={"INSTNORM_BLOCK_BYTES": str(10_000_000)}, preexec_fn=limit)
    assert (tmp_path / "y.npy").stat().st_size == (tmp_path / "x.npy").stat().st_size


def test_memory_does_not_grow_with_the_number_of_rows(plain_memory, run, tmp_path):
    sparse(tmp_path / "x.npy", (9_000_000, 1, 2))  # 72 MB, and 216 MB of moments

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))

    run("moments", tmp_path / "x.npy", "-o", tmp_path / "m", "--threads", "1",
        env={"INSTNORM_BLOCK_BYTES": str(10_000_000)}, preexec_fn=limit)
    assert (tmp_path / "m").stat().st_size > 216_000_000


def test_an_instance_that_does_not_fit_into_memory(plain_memory, run, tmp_path):
    sparse(tmp_path / "x.npy", (1, 1, 10**9))

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))

    assert "memory" in run("apply", tmp_path / "x.npy", tmp_path / "y.npy", status=1, preexec_fn=limit).error
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_explain_says_how_and_does_it(run, files):
    text = run("apply", files.x_path, files.y_path, "--explain", env={"INSTNORM_BLOCK_BYTES": "1400"}).text
    assert "float32 (7, 3, 50), C order" in text and "4 blocks of up to 2 instances" in text
    assert "N=2 C=3 L=50 float32" in text
    oracle.assert_close(files.y, oracle.instance_norm(files.x), np.float32)
    text = run("apply", files.x_path, files.y_path, "--force", "--explain", "--state", files.s_path, "--prefix",
               "encoder.norm").text
    assert "running statistics" in text
