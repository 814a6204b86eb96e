"""Memory that runs out in Python: MemoryError, whatever should be changed is as it was, and the next call is right.

Each program runs in a process of its own, whose address space is limited a little above what it uses, a little more
each time until the call passes.
"""

from __future__ import annotations

import pytest
from address_space import reads_proc, run

pytestmark = reads_proc

PROLOGUE = """
import numpy as np, instnorm

def sweep(call, right, unchanged=lambda: True, step=8):
    '''How often the call had too little memory.'''
    small = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    wanted = instnorm.instance_norm(small)
    for failures, megabytes in enumerate(range(0, 1000, step)):
        instnorm.release_memory()
        limit(megabytes)
        try:
            result = call()
        except MemoryError as error:
            assert "\\n" not in str(error)
            assert (instnorm.instance_norm(small) == wanted).all()
            unlimited()
            assert unchanged()
        else:
            unlimited()
            assert right(result)
            return failures
    raise SystemExit("1 GB is too little")

N, C, L = 512, 1024, 16
values = np.random.default_rng(1).standard_normal((N, C, L)).astype(np.float32)
"""

# What each returns is how often it failed.
PROGRAMS = {
    "instance_norm": """
        wanted = instnorm.instance_norm(values)
        failures = sweep(lambda: instnorm.instance_norm(values), lambda y: (y == wanted).all())
    """,
    # Into a given array, with moments for which NumPy needs memory.
    "moments, running statistics and the output": """
        x = values[..., :2].copy()
        out, mean, var = np.zeros_like(x), np.zeros(C, np.float32), np.ones(C, np.float32)
        wanted, m = instnorm.instance_norm(x, return_moments=True)
        call = lambda: instnorm.instance_norm(x, mean, var, out=out, return_moments=True)
        right = lambda r: r[0] is out and (out == wanted).all() and (r[1].m2 == m.m2).all() and mean.any()
        failures = sweep(call, right, lambda: not out.any() and not mean.any() and (var == 1).all(), step=2)
    """,
    "instance_norm_backward": """
        m = instnorm.moments(values)
        weight = np.ones(C, np.float32)
        call = lambda: instnorm.instance_norm_backward(values, values, m, weight)
        wanted = call()
        failures = sweep(call, lambda g: (g[0] == wanted[0]).all() and (g[1] == wanted[1]).all())
    """,
    "moments": """
        wanted = instnorm.moments(values)
        failures = sweep(lambda: instnorm.moments(values), lambda m: (m.m2 == wanted.m2).all(), step=2)
    """,
    "denormalize": """
        m = instnorm.moments(values)
        wanted = instnorm.denormalize(values, m)
        failures = sweep(lambda: instnorm.denormalize(values, m), lambda x: (x == wanted).all())
    """,
    "denormalize into out": """
        m = instnorm.moments(values)
        wanted, out = instnorm.denormalize(values, m), np.zeros_like(values)
        failures = sweep(lambda: instnorm.denormalize(values, m, out=out), lambda x: (x == wanted).all(),
                         lambda: not out.any(), step=2)
    """,
    "the values of a mask": """
        mask = np.ones((N, C, L), bool)
        wanted = instnorm.instance_norm(values)
        failures = sweep(lambda: instnorm.instance_norm(values, mask=mask), lambda y: (y == wanted).all())
    """,
    "Moments": """
        m = instnorm.moments(values)
        wanted = m.merge(m).std()
        failures = sweep(lambda: m.merge(m).std(), lambda std: (std == wanted).all(), step=2)
    """,
    "InstanceNorm1d": """
        layer = instnorm.InstanceNorm1d(C, affine=True, track_running_stats=True)
        wanted = instnorm.instance_norm(values)
        failures = sweep(lambda: layer(values), lambda y: np.abs(y - wanted).max() < 1e-5 and layer.running_mean.any(),
                         lambda: not layer.running_mean.any() and (layer.running_var == 1).all())
    """,
}


@pytest.mark.parametrize("keep", ["0", "512"], ids=["memory of NumPy", "memory that is kept"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_too_little_memory(name, keep):
    program = "\n".join(line[8:] for line in PROGRAMS[name].splitlines()) + "\nprint(failures)"
    assert int(run(PROLOGUE + program, INSTNORM_NUM_THREADS="1", INSTNORM_KEEP_MEMORY=keep)) >= 2


def test_what_is_kept_is_given_back_first():
    program = """
x, doubles = values[:256], values.astype(np.float64)
wanted = instnorm.instance_norm(x)
instnorm.release_memory()
instnorm.instance_norm(values)  # 32 MB, kept
limit(8)
assert (instnorm.instance_norm(x) == wanted).all()  # 16 MB
try:
    instnorm.instance_norm(doubles)  # 64 MB
except MemoryError:
    print("as it should be")
"""
    assert run(PROLOGUE + program, INSTNORM_NUM_THREADS="1") == "as it should be"


@pytest.mark.parametrize("threads", ["2", "64"])
def test_threads_without_memory_for_them(threads):
    """OpenMP's runtime would end the process."""
    program = """
wanted = np.zeros_like(values)
limit(4)
instnorm.instance_norm(values, out=wanted)
unlimited()
y = np.zeros_like(values)
instnorm.instance_norm(values, out=y)  # with threads
print((y == wanted).all() and abs(y.mean()) < 1e-3 and y.any())
"""
    assert run(PROLOGUE + program, INSTNORM_NUM_THREADS=threads) == "True"
