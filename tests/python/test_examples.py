"""The examples do what they say."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from address_space import reads_proc
from address_space import run as run_limited

import instnorm

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name, *arguments, folder):
    command = [sys.executable, EXAMPLES / name, *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=folder, check=False)


def succeeds(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arrays(tmp_path):
    assert "shapes of the gradients: (20, 100, 40) (100,)" in succeeds(run("arrays.py", folder=tmp_path))


def test_stream(tmp_path):
    lines = succeeds(run("stream.py", folder=tmp_path)).splitlines()
    assert lines[0] == "3000 chunks of up to 36 values"
    for line in lines[1:3]:
        assert float(line.split()[-1]) <= 1e-12 * 1000  # in units of a mean of 991
    quarters = [float(line.split()[2]) for line in lines[3:]]
    assert len(quarters) == 4 and quarters[3] < quarters[0] / 4  # it learns


@pytest.mark.parametrize("length", [1, 7, 1000])
def test_stream_is_causal(length, tmp_path, rng):
    x = rng.standard_normal((1, 2, 1000))
    np.save(tmp_path / "x.npy", x)
    stream = load("stream")
    normalise = stream.Normaliser(2)
    first = [normalise(chunk) for chunk in stream.microphone(tmp_path / "x.npy", length)]
    whole = instnorm.moments(x.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(normalise.moments.mean, whole.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(normalise.moments.m2, whole.m2, rtol=1e-12)
    # Another end changes nothing before it.
    x[..., -1] = 1e6
    np.save(tmp_path / "x.npy", x)
    normalise = stream.Normaliser(2)
    second = [normalise(chunk) for chunk in stream.microphone(tmp_path / "x.npy", length)]
    for a, b in zip(first[:-1], second[:-1]):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[-1], second[-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3, 5000), (3, 5000), (1, 1, 1)])
def test_larger_than_memory_is_the_function(dtype, shape, tmp_path, rng):
    x = (100 + rng.standard_normal(shape)).astype(dtype)
    source, target = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(source, x)
    succeeds(run("larger_than_memory.py", source, target, 4096, folder=tmp_path))
    y = np.load(target)
    assert y.dtype == dtype and y.shape == shape
    expected = instnorm.instance_norm(x, moments=instnorm.moments(x))
    # The mean of a row of mean 100 and std 1 is kept with 2^-53 of itself in each piece.
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12 if dtype == np.float64 else 1e-6)
    # An existing file is left alone.
    assert run("larger_than_memory.py", source, target, folder=tmp_path).returncode != 0
    np.testing.assert_array_equal(np.load(target), y)


def test_larger_than_memory_refuses_what_it_cannot_read(tmp_path):
    for i, x in enumerate((np.zeros((2, 5), np.int64), np.zeros(5), np.asfortranarray(np.zeros((4, 5))))):
        np.save(tmp_path / f"{i}.npy", x)
        done = run("larger_than_memory.py", tmp_path / f"{i}.npy", tmp_path / "y.npy", folder=tmp_path)
        assert "IN must be (N, C, L) or (C, L)" in done.stderr


LIMITED = """
import runpy, sys
import numpy as np, instnorm
instnorm.instance_norm(np.ones((1, 2, 9)), moments=instnorm.moments(np.ones((1, 2, 9))))
limit(20)
try:
    np.load("x.npy")
    sys.exit("the limit does not bite")
except MemoryError:
    pass
sys.argv = ["", "x.npy", "y.npy", str(2**18)]
runpy.run_path(EXAMPLE, run_name="__main__")
"""


@reads_proc
def test_larger_than_memory_needs_little(tmp_path):
    """With 20 MiB for a file of 32: chunks of one, and what Python takes beside."""
    x = np.random.default_rng(0).standard_normal((1, 1, 2**23), np.float32)
    np.save(tmp_path / "x.npy", x)
    script = f"EXAMPLE = {str(EXAMPLES / 'larger_than_memory.py')!r}\n" + LIMITED
    run_limited(script, tmp_path, INSTNORM_NUM_THREADS="1")
    expected = instnorm.instance_norm(x)
    # Pieces of whole blocks: the moments differ by roundings of double.
    assert np.abs(np.load(tmp_path / "y.npy") - expected).max() <= 2.0**-21


def test_shards(tmp_path, rng):
    x = (5 + rng.standard_normal((2, 3, 1000))).astype(np.float32)
    shards = []
    for i, piece in enumerate(np.split(x, [1, 400, 400, 777], axis=-1)):
        shards.append(tmp_path / f"shard{i}.npy")
        np.save(shards[-1], piece)
    assert succeeds(run("shards.py", *shards, folder=tmp_path)).startswith("1000 values in each row; ")
    y = np.concatenate([np.load(shard.with_name(f"{shard.stem}-normalised.npy")) for shard in shards], axis=-1)
    # Moments of pieces of a float32 signal are apart by roundings of float32.
    np.testing.assert_allclose(y, instnorm.instance_norm(x), rtol=0, atol=2e-5)
    moments = instnorm.moments(x[..., :1])
    for first, last in ((1, 400), (400, 777), (777, 1000)):
        moments = moments.merge(instnorm.moments(x[..., first:last]))
    np.testing.assert_array_equal(y, instnorm.instance_norm(x, moments=moments))
