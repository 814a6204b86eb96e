#!/usr/bin/env python3
"""instnorm.torch against PyTorch's own call, in one process and in turn: the table of the README.

    bench_torch.py [--rounds R] [--shape N,C,L]... [--threads K] [--json]

Before it times a case it checks that both sides give the same values and gradients. A figure is the
median over R rounds of the time of one call in microseconds, allocation of the result included:
instnorm's / PyTorch's = the median over the rounds of their quotient. Tensors are float32. Needs
instnorm and torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

import instnorm
import instnorm.torch as it

Tensors = tuple[torch.Tensor, ...]
Call = Callable[[], Tensors]
SHAPES = ["1,1,16", "32,64,100", "16,80,1500", "32,512,3000"]
# A round of one side lasts about this long, or one call: the clock costs 0.1 us.
SECONDS = 0.005
# Errors of float32 on rows of mean 0 and std 1, whose y is below 6 and whose sums of gradients are of
# the size of the square root of N * L.
FORWARD, BACKWARD = 1e-5, 1e-3


def function(side: Any, shape: tuple[int, ...]) -> Call:
    x = torch.randn(shape)
    return lambda: (side(x),)


def layer(cls: Any, shape: tuple[int, ...]) -> Call:
    norm, x = cls(shape[1], affine=True), torch.randn(shape)

    def call() -> Tensors:
        with torch.no_grad():
            return (norm(x),)

    return call


def step(cls: Any, shape: tuple[int, ...]) -> Call:
    norm = cls(shape[1], affine=True)
    x, g = torch.randn(shape, requires_grad=True), torch.randn(shape)
    tensors = [x, *norm.parameters()]
    return lambda: torch.autograd.grad(norm(x), tensors, g)


FUNCTIONS = (it.functional.instance_norm, F.instance_norm)
LAYERS = (it.InstanceNorm1d, torch.nn.InstanceNorm1d)
CASES: dict[str, tuple[Callable[[Any, tuple[int, ...]], Call], tuple[Any, Any], float]] = {
    "function, no gradient": (function, FUNCTIONS, FORWARD),
    "layer with affine, no gradient": (layer, LAYERS, FORWARD),
    "layer with affine, forward and backward": (step, LAYERS, BACKWARD),
}


def pairs(shapes: list[str]) -> Iterator[tuple[str, str, list[Call]]]:
    for text in shapes:
        shape = tuple(int(size) for size in text.split(","))
        for name, (make, sides, tolerance) in CASES.items():
            calls = []
            for side in sides:
                torch.manual_seed(0)
                calls.append(make(side, shape))
            for mine, theirs in zip(*(call() for call in calls)):
                torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
            yield name, text, calls


def seconds(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def measure(calls: list[Call], rounds: int) -> tuple[list[float], list[float]]:
    counts = [max(1, int(SECONDS / seconds(call, 3))) for call in calls]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, count, into in zip(calls, counts, times):
            into.append(seconds(call, count))
    return times


def digits(microseconds: float) -> str:
    """Three of them, and none behind the point from 100."""
    return f"{microseconds:.3g}" if microseconds < 100 else f"{microseconds:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--shape", action="append", metavar="N,C,L")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    for name, shape, calls in pairs(arguments.shape or SHAPES):
        mine, theirs = measure(calls, arguments.rounds)
        rows.append({
            "case": name,
            "shape": shape,
            "instnorm_us": statistics.median(mine) * 1e6,
            "pytorch_us": statistics.median(theirs) * 1e6,
            "ratio": statistics.median(a / b for a, b in zip(mine, theirs)),
        })
    if arguments.json:
        facts = {"instnorm": instnorm.__version__, "torch": torch.__version__, "threads": arguments.threads}
        print(json.dumps({**facts, "rows": rows}, indent=1))
        return
    print(f"| (N, C, L) float32, {arguments.threads} threads | " + " | ".join(CASES) + " |")
    print("|---|" + "---|" * len(CASES))
    for shape in dict.fromkeys(row["shape"] for row in rows):
        cells = [
            f"{digits(row['instnorm_us'])} / {digits(row['pytorch_us'])} = {row['ratio']:.2f}"
            for row in rows
            if row["shape"] == shape
        ]
        print(f"| ({shape.replace(',', ', ')}) | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
