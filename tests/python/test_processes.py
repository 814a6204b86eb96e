"""Threads of Python, forks, spawned workers, and PyTorch's threads in the same process."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import pathlib
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import instnorm

# None where it is not there, by tests/conftest.py.
needs_torch = pytest.mark.skipif(sys.modules.get("torch", True) is None, reason="needs PyTorch")
# More than enough for several threads, so that OpenMP's are used.
SHAPE = (64, 64, 500)
# A hang is a failure; a slow machine is not.
PATIENCE = 120


def run(program: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_many_threads(rng):
    inputs = [rng.standard_normal((8, 16, 300 + i)).astype(np.float32) for i in range(16)]
    expected = [instnorm.instance_norm(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            for y, z in zip(pool.map(instnorm.instance_norm, inputs), expected):
                np.testing.assert_array_equal(y, z)


def test_other_threads_run_meanwhile():
    x = np.ones((1, 1, 30_000_000), np.float32)
    out = np.empty_like(x)
    ticks = []
    done = threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    other = threading.Thread(target=tick)
    other.start()
    while not ticks:
        time.sleep(0.001)
    begin = time.perf_counter()
    instnorm.instance_norm(x, out=out)
    end = time.perf_counter()
    done.set()
    other.join()
    # It takes tens of milliseconds: with the lock kept, no tick falls between.
    assert any(begin < t < end for t in ticks)


def _child(connection, x):
    connection.send(instnorm.instance_norm(x))
    connection.close()


# Forks of this very process would meet the threads of other frameworks; a clean one forks below.
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers(rng, method):
    x = rng.standard_normal(SHAPE).astype(np.float32)
    expected = instnorm.instance_norm(x)
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    worker = context.Process(target=_child, args=(there, x))
    worker.start()
    try:
        assert here.poll(PATIENCE), f"a {method}ed worker hangs"
        np.testing.assert_array_equal(here.recv(), expected)
    finally:
        worker.kill()
        worker.join()


FORK = """
    import os, signal
    import numpy as np
    {first}
    import instnorm
    x = np.ones({shape}, np.float32)
    {use}
    child = os.fork()
    if child == 0:
        signal.alarm({patience})
        instnorm.instance_norm(x)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(status)
"""


@pytest.mark.parametrize(
    "use",
    [
        "instnorm.instance_norm(x)",
        pytest.param("import torch; torch.nn.functional.gelu(torch.from_numpy(x))", marks=needs_torch),
        "",
    ],
    ids=["after use", "after PyTorch's use", "before use"],
)
@pytest.mark.parametrize("first", ["", pytest.param("import torch", marks=needs_torch)], ids=["alone", "PyTorch first"])
def test_a_fork_does_not_hang(first, use):
    assert run(FORK.format(first=first, shape=SHAPE, use=use, patience=PATIENCE)) == "0"


@needs_torch
@pytest.mark.parametrize("order", ["torch, instnorm", "instnorm, torch"])
def test_one_openmp_runtime_beside_pytorch(order):
    folder = pathlib.Path(importlib.util.find_spec("torch").origin).parent / "lib"
    if order == "instnorm, torch" and list(folder.glob("libgomp-*")):
        pytest.skip("this PyTorch's wheel has given its libgomp a name of its own: whoever is first must be PyTorch")
    program = f"""
        import numpy as np
        import {order}
        x = np.random.default_rng(0).standard_normal({SHAPE}).astype(np.float32)
        for _ in range(3):
            y = instnorm.instance_norm(x)
            z = torch.nn.functional.instance_norm(torch.from_numpy(x)).numpy()
        assert abs(y - z).max() < 1e-5
        torch.set_num_threads(1)
        assert instnorm.get_num_threads() == 1
        with open("/proc/self/maps") as maps:
            print(len({{line.split()[-1] for line in maps if "libgomp" in line or "libomp" in line}}))
    """
    assert run(program) == "1"


@needs_torch
def test_pytorch_before_its_exchange_api():
    program = """
        import torch
        if hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
            del torch.Tensor.__dlpack_c_exchange_api__  # as before 2.10
        import instnorm
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            x = torch.randn(4, 3, 40).to(dtype).transpose(0, 1)
            y = instnorm.instance_norm(x)
            assert type(y) is torch.Tensor and y.dtype == dtype and y.is_contiguous()
            out = torch.empty_like(y)
            assert instnorm.instance_norm(x, out=out) is out and torch.equal(out, y)
            wide = instnorm.instance_norm(x.double())
            assert (y - wide).abs().max() < 0.02, (y - wide).abs().max()
        try:
            instnorm.instance_norm(x.requires_grad_())
        except TypeError as error:
            print(error)
    """
    assert "input requires grad" in run(program)


def test_import_is_free_of_frameworks():
    modules = run("import sys, instnorm; print(*sys.modules)").split()
    assert "instnorm" in modules and not {"torch", "jax", "ml_dtypes"} & {*modules}


def test_environment():
    show = "import instnorm; print(instnorm.get_num_threads())"
    assert run(show, INSTNORM_NUM_THREADS="3") == "3"
    program = """
        import instnorm, numpy
        try:
            instnorm.instance_norm(numpy.ones((1, 2, 3)))
        except ValueError as error:
            print(error)
    """
    assert "INSTNORM_NUM_THREADS=many" in run(program, INSTNORM_NUM_THREADS="many")
    assert "INSTNORM_CPU_TARGET" in run(program, INSTNORM_CPU_TARGET="Z80")


def test_show_config(capsys):
    instnorm.show_config()
    shown = capsys.readouterr().out
    assert shown.startswith("instnorm")
    for word in (instnorm.__version__, np.__version__, "instruction set", "threads", "OpenMP"):
        assert word in shown
