"""What a call on a tiny array costs, beside numpy.copyto of as many floats in the same run.

    python bench/bench_overhead.py [ROUNDS]

Each figure is the least of ROUNDS (default 100) means over 2000 calls, the ways interleaved: the
machine's noise only ever adds. PyTorch's ways are measured where it is installed.
"""

import sys
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np

import instnorm

CALLS = 2000


def numpy_ways() -> dict[str, Callable[[], Any]]:
    a, b = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    x, out = a.reshape(1, 1, 16), b.reshape(1, 1, 16)
    weight, bias = np.ones(1, np.float32), np.zeros(1, np.float32)
    norm = instnorm.InstanceNorm1d(1, affine=True)
    return {
        "numpy.copyto": lambda: np.copyto(b, a),
        "out": lambda: instnorm.instance_norm(x, out=out),
        "weight, bias, out": lambda: instnorm.instance_norm(x, weight=weight, bias=bias, out=out),
        "new array": lambda: instnorm.instance_norm(x),
        "moments": lambda: instnorm.moments(x),
        "layer, out": lambda: norm(x, out=out),
    }


def torch_ways() -> dict[str, Callable[[], Any]]:
    try:
        import torch
    except ImportError:
        return {}
    x = torch.randn(1, 1, 16)
    out, weight, bias = torch.empty_like(x), torch.ones(1), torch.zeros(1)
    return {
        "torch: out": lambda: instnorm.instance_norm(x, out=out),
        "torch: weight, bias, out": lambda: instnorm.instance_norm(
            x, weight=weight, bias=bias, out=out
        ),
        "torch: new tensor": lambda: instnorm.instance_norm(x),
        "torch's own": lambda: torch.nn.functional.instance_norm(x),
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    ways = {"nothing": lambda: None, **numpy_ways(), **torch_ways()}
    timers = {name: timeit.Timer(way) for name, way in ways.items()}
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, timer in timers.items():
            least[name] = min(least[name], timer.timeit(CALLS) / CALLS)
    # The call of the lambda itself.
    net = {name: seconds - least["nothing"] for name, seconds in least.items()}
    for name in list(ways)[1:]:
        print(f"{name:26} {net[name] * 1e9:7.0f} ns {net[name] / net['numpy.copyto']:6.2f} copyto")


if __name__ == "__main__":
    main()
