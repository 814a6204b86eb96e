"""Help, wrong usage, the environment, info and bench."""

import json
import subprocess

import numpy as np
import pytest

COMMANDS = ["apply", "denormalize", "moments", "bench", "info"]


@pytest.mark.parametrize("words", [["--help"], ["-h"], *([c, "--help"] for c in COMMANDS)], ids=str)
def test_help(run, words):
    text = run(*words).text
    for command in COMMANDS if len(words) == 1 else words[:1]:
        assert command in text


OPTIONS = {
    "apply": ["IN", "OUT", "--eps", "--data-format", "--lengths", "--mask", "--nan-policy", "--activation", "--state",
              "--prefix", "--eval", "--train", "--momentum", "--save-state", "--moments", "--save-moments",
              "--threads", "--explain", "--force"],
    "denormalize": ["Y", "OUT", "--moments", "--state", "--eps", "--data-format", "--force"],
    "moments": ["IN", "-o", "--data-format", "--force"],
    "bench": ["--shape", "--dtype", "--backward", "--threads", "--json"],
    "info": ["--json"],
}


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_every_option_and_so_does_the_manual(run, manual, command):
    text = run(command, "--help").text
    for option in OPTIONS[command]:
        assert option in text and option in manual
    if command in ["apply", "denormalize", "moments"]:
        assert "64 MiB" in text and "INSTNORM_BLOCK_BYTES" in text


WRONG = {
    "": "subcommand",
    "--no-such-option": "subcommand",
    "normalize x y": "no command normalize",
    "apply": "required",
    "apply x.npy": "OUT is required",
    "apply x.npy y.npy z.npy": "z.npy",
    "apply x.npy y.npy --no-such-option": "--no-such-option",
    "apply - y.npy": "- is not supported",
    "apply x.npy -": "- is not supported",
    "apply x.npy y.npy --eps": "--eps",
    "apply x.npy y.npy --eps one": "--eps: expected a finite number >= 0, got one",
    "apply x.npy y.npy --eps 1e-5x": "--eps",
    "apply x.npy y.npy --eps -1e-5": "--eps",
    "apply x.npy y.npy --eps nan": "--eps",
    "apply x.npy y.npy --eps inf": "--eps",
    "apply x.npy y.npy --eps 1e-5 --eps 1e-6": "--eps",
    "apply x.npy y.npy --eval": "--eval needs --state",
    "apply x.npy y.npy --state s --eval --train": "excludes",
    "apply x.npy y.npy --state s --eval --moments m": "exclude",
    "apply x.npy y.npy --momentum 0.1": "requires --train",
    "apply x.npy y.npy --train --momentum nan": "--momentum",
    "apply x.npy y.npy --state s --save-state t": "requires --train",
    "apply x.npy y.npy --train --save-state t": "--save-state needs --state",
    "apply x.npy y.npy --prefix p": "requires --state",
    "apply x.npy y.npy --threads 0": "--threads",
    "apply x.npy y.npy --threads -1": "--threads",
    "apply x.npy y.npy --threads two": "--threads",
    "apply x.npy y.npy --lengths l.npy --mask m.npy": "lengths and mask are both given: give one of them",
    "apply x.npy y.npy --lengths -": "- is not supported",
    "apply x.npy y.npy --activation tanh": 'activation must be "relu", "leaky_relu", "gelu", "gelu_tanh" or "silu", got "tanh"',
    "apply x.npy y.npy --nan-policy ignore": 'nan_policy must be "propagate", "omit" or "raise", got "ignore"',
    "apply x.npy y.npy --nan-policy omit --nan-policy raise": "--nan-policy",
    "apply x.npy y.npy --data-format NHWC": 'data_format must be "NCL" or "NLC", got "NHWC"',
    "denormalize x.npy y.npy --moments m --data-format ncl": 'data_format must be "NCL" or "NLC", got "ncl"',
    "denormalize x.npy y.npy": "--moments is required",
    "denormalize x.npy y.npy --moments m --prefix p": "requires --state",
    "moments": "IN is required",
    "moments x.npy -o": "-o",
    "bench --shape 1,2": "expected N,C,L",
    "bench --shape 1,2,3,4": "expected N,C,L",
    "bench --shape 1,2,": "expected N,C,L",
    "bench --shape 1,2,1": "expected N,C,L",
    "bench --shape 0,2,5": "expected N,C,L",
    "bench --shape -1,2,5": "expected N,C,L",
    "bench --shape 2000000000,2000000000,2000000000": "expected N,C,L",
    "bench --dtype int8": "int8",
    "info x": "x",
}


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(5).normal(size=(2, 3, 4)))
    return tmp_path


@pytest.mark.parametrize("words", WRONG)
def test_wrong_usage(run, folder, words):
    done = run(*words.split(), status=2, cwd=folder)
    assert WRONG[words] in done.error and done.text == ""
    assert [p.name for p in folder.iterdir()] == ["x.npy"]


def test_empty_words(run, folder):
    run("apply", "", "y.npy", status=2, cwd=folder)
    run("apply", "x.npy", "", status=2, cwd=folder)


def test_defaults_spelled_out(run, folder):
    run("apply", "x.npy", "y.npy", "--data-format", "NCL", "--nan-policy", "propagate", cwd=folder)
    run("apply", "x.npy", "z.npy", cwd=folder)
    assert (folder / "y.npy").read_bytes() == (folder / "z.npy").read_bytes()


@pytest.mark.parametrize("variable, value", [
    ("INSTNORM_NUM_THREADS", "0"), ("INSTNORM_NUM_THREADS", "many"), ("INSTNORM_CPU_TARGET", "Z80"),
    ("INSTNORM_BLOCK_BYTES", "0"), ("INSTNORM_BLOCK_BYTES", "1k"),
])
def test_a_wrong_environment_is_wrong_usage(run, folder, variable, value):
    done = run("apply", "x.npy", "y.npy", status=2, cwd=folder, env={variable: value})
    assert variable in done.error and value in done.error
    assert [p.name for p in folder.iterdir()] == ["x.npy"]
    run("--help", env={variable: value})


def test_version(run, binary):
    version = run("--version").text.strip()
    assert version.count(".") == 2
    assert json.loads(run("info", "--json").text)["version"] == version


def test_info(run):
    info = json.loads(run("info", "--json").text)
    assert info["cpu_target"] in info["available_cpu_targets"]
    assert info["threads"] >= 1 and info["cache_bytes"].keys() == {"L1", "L2", "L3"}
    text = run("info").text
    assert info["version"] in text and info["cpu_target"] in text
    last = info["available_cpu_targets"][-1]
    info = json.loads(run("info", "--json", env={"INSTNORM_NUM_THREADS": "3", "INSTNORM_CPU_TARGET": last}).text)
    assert (info["threads"], info["why_threads"]) == (3, "INSTNORM_NUM_THREADS")
    assert (info["cpu_target"], info["why_cpu_target"]) == (last, "INSTNORM_CPU_TARGET")


@pytest.mark.parametrize("dtype, name", [("float16", "float16"), ("f16", "float16"), ("bfloat16", "bfloat16"),
                                         ("bf16", "bfloat16"), ("float32", "float32"), ("f32", "float32"),
                                         ("float64", "float64"), ("f64", "float64")])
def test_bench(run, dtype, name):
    shapes = [[2, 3, 100]] if dtype != name else [[1, 1, 5000]] if name != "float32" else [[2, 3, 100], [1, 1, 5000]]
    words = ["--dtype", dtype, "--backward", "--threads", "1"]
    for shape in shapes:
        words += ["--shape", ",".join(map(str, shape))]
    got = json.loads(run("bench", *words, "--json").text)
    assert got["dtype"] == name and got["threads"] == 1
    assert [r["shape"] for r in got["results"]] == shapes
    for r in got["results"]:
        for way in "forward", "backward":
            assert r["copy_gb_per_s"] > 0 and r[f"{way}_gb_per_s"] > 0
            assert r[f"{way}_of_copy"] == pytest.approx(r[f"{way}_gb_per_s"] / r["copy_gb_per_s"])
        assert r["backward_of_triad"] == pytest.approx(r["backward_gb_per_s"] / r["triad_gb_per_s"])


def test_the_table_of_bench(run):
    text = run("bench", "--shape", "2,3,100").text
    assert "float32" in text and "(2, 3, 100)" in text and "%" in text and "backward" not in text


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64"])
def test_rows_of_two_values_are_right_for_bench(run, dtype):
    """All but nothing is left of the terms of their gradients."""
    run("bench", "--shape", "64,64,2", "--backward", "--dtype", dtype)


def test_a_shape_beyond_memory(plain_memory, run):
    assert "not enough memory" in run("bench", "--shape", "100000,100000,10000", status=1).error


def test_a_closed_pipe(binary):
    """As in `instnorm bench | head -1`: killed by SIGPIPE, without a word."""
    process = subprocess.Popen([binary, "bench", "--shape", "2,3,100", "--shape", "2,3,100"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == -13
