#!/usr/bin/env python3
"""Inputs larger than 32 bits can count: right values, and how much memory beside input and output.

    large.py [rows] [elements] [row]

Each in a process of its own; what the machine has no memory for is not run, and said. Prints a table for
docs/reliability.md; fails if a value is wrong.
"""

import subprocess
import sys
import time

import numpy as np

import instnorm


def resident() -> int:
    """Bytes, the most there ever were."""
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def rows():
    """More than 65535 * 65536 rows of one value, normalised by running statistics; the input is one value in memory."""
    N, C = 65536, 65537
    x = np.lib.stride_tricks.as_strided(np.full(1, 3, np.float16), (N, C, 1), (0, 0, 0))
    mean, var = np.arange(C) % 2 * 2.0, np.full(C, 4.0)
    out = np.empty((N, C, 1), np.float16)
    out[:] = 0  # its memory is there before the call

    def call():
        instnorm.instance_norm(x, running_mean=mean.astype(np.float32), running_var=var.astype(np.float32),
                               use_input_stats=False, eps=0.0, out=out)

    def right():
        wanted = ((3 - mean) / 2).astype(np.float16)
        return all((out[n, :, 0] == wanted).all() for n in range(0, N, 257)) and (out[-1, :, 0] == wanted).all()

    return f"({N}, {C}, 1) float16, {N * C / 2**32:.5f} * 2^32 rows", call, right


def elements():
    """More than 2^31 elements of float16."""
    shape = (8, 4, 2**26 + 3)
    out = np.empty(shape, np.float16)
    row = np.where(np.arange(shape[2]) % 2 == 0, 5, 1).astype(np.float16)
    row[-1] = 3  # an odd number: the mean is 3 and the variance just under 4
    out[:] = row
    wanted = np.where(row > 3, 1, -1).astype(np.float16)
    wanted[-1] = 0

    def call():
        instnorm.instance_norm(out, eps=0.0, out=out)

    def right():
        # As integers, which NumPy compares six times as fast as float16.
        return all((instance.view(np.uint16) == wanted.view(np.uint16)).all() for instance in out)

    return f"{shape} float16 in place, {np.prod(shape) / 2**31:.3f} * 2^31 elements", call, right


def row():
    """One row of 1e8, of mean 1e6 and standard deviation 1."""
    x = np.random.default_rng(0).standard_normal((1, 1, 10**8), dtype=np.float32)
    x += np.float32(1e6)
    out = np.zeros_like(x)

    def call():
        instnorm.instance_norm(x, out=out)

    def right():
        mean = x.mean(dtype=np.float64)
        var = np.mean([np.mean(np.square(part - mean, dtype=np.float64)) for part in np.array_split(x.ravel(), 100)])
        wanted = (x[..., ::997] - mean) / np.sqrt(var + 1e-5)
        return np.abs(out[..., ::997] - wanted).max() < 1e-6 * (1 + np.abs(wanted).max())

    return "(1, 1, 100000000) float32, mean 1e6", call, right


CASES = {"rows": rows, "elements": elements, "row": row}
GIGABYTES = {"rows": 10, "elements": 6, "row": 2}  # at most, with what the comparison takes


def available() -> float:
    """Gigabytes."""
    with open("/proc/meminfo") as info:
        return next(int(line.split()[1]) for line in info if line.startswith("MemAvailable")) / 1e6


def main(names):
    if len(names) == 2 and names[0] == "--one":
        what, call, right = CASES[names[1]]()
        before = resident()
        begin = time.perf_counter()
        call()
        seconds = time.perf_counter() - begin
        beside = resident() - before
        good = right()
        print(f"| {what} | {'right' if good else 'WRONG'} | {beside / 2**20:.0f} MB | {seconds:.1f} s |", flush=True)
        return 0 if good else 1
    print("| input | values | memory beside input and output | time |\n|---|---|---:|---:|", flush=True)
    status = 0
    for name in names or CASES:
        if available() < GIGABYTES[name]:
            print(f"| {name} | not run: needs {GIGABYTES[name]} GB of memory, {available():.1f} are free | | |", flush=True)
        else:
            status |= subprocess.run([sys.executable, __file__, "--one", name]).returncode
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
