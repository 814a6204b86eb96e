"""Memory that runs out: one line of error, exit status 1 and no file; from a certain limit on, the right result."""

import os
import resource
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import cli_oracle as oracle

KB = 1 << 10
X = np.random.default_rng(8).normal(3, 2, (64, 16, 1024)).astype(np.float32)  # 4 MB


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "x.npy", X)
    save_file({k: np.asarray(v, np.float64) for k, v in oracle.moments(X).items()}, tmp_path / "m.safetensors")
    save_file({"running_mean": np.zeros(16, np.float32), "running_var": np.ones(16, np.float32)},
              tmp_path / "s.safetensors")
    return tmp_path


@pytest.fixture
def least(plain_memory, binary):
    """Bytes of address space without which the command does not begin: the loader and OpenMP's runtime need them."""
    for kb in range(4000, 100_000, 250):
        def limit(kb=kb):
            resource.setrlimit(resource.RLIMIT_AS, (kb * KB, kb * KB))

        if subprocess.run([binary, "--version"], preexec_fn=limit, capture_output=True, check=False).returncode == 0:
            return kb * KB
    raise AssertionError("100 MB are too little for --version")


COMMANDS = {
    "apply": (["apply", "x.npy", "y.npy"], ["y.npy"]),
    "apply by many threads": (["apply", "x.npy", "y.npy", "--threads", "64"], ["y.npy"]),
    "apply with more files": (["apply", "x.npy", "y.npy", "--state", "s.safetensors", "--train", "--save-state", "s2",
                               "--save-moments", "m2"], ["y.npy", "s2", "m2"]),
    "moments": (["moments", "x.npy", "-o", "m2"], ["m2"]),
    "denormalize": (["denormalize", "x.npy", "y.npy", "--moments", "m.safetensors"], ["y.npy"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_too_little_memory(run, folder, least, name):
    words, outputs = COMMANDS[name]
    before = sorted(os.listdir(folder))
    failures = 0
    for kb in range(100, 60_000, 500):
        size = least + kb * KB

        def limit(size=size):
            resource.setrlimit(resource.RLIMIT_AS, (size, size))

        done = run(*words, status=(0, 1), cwd=folder, preexec_fn=limit)
        if done.returncode == 0:
            break
        failures += 1
        assert "memory" in done.error and sorted(os.listdir(folder)) == before, (kb, done.error)
    else:
        pytest.fail("60 MB are too little")
    assert failures > 2
    assert sorted(os.listdir(folder)) == sorted(before + outputs)
    if words[0] == "apply":
        oracle.assert_close(np.load(folder / "y.npy"), oracle.instance_norm(X), np.float32)
    if "m2" in outputs:
        assert np.abs(load_file(folder / "m2")["mean"] - oracle.moments(X)["mean"]).max() < 1e-6
