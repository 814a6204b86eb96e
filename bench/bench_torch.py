"""instnorm.torch against PyTorch's own call, in one process, interleaved.

    python bench/bench_torch.py [--rounds K] [--json]

Each figure is the median over the rounds of one call (many, where one is short), in microseconds;
beside it the smallest, which a busy machine disturbs least. Before it times, it checks that both
give the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

import instnorm
import instnorm.torch as it

Call = Callable[[], object]
# Shapes of one forward, in training mode without tracking.
SHAPES = [(1, 1, 16), (32, 64, 100), (20, 100, 40), (32, 64, 1000), (64, 80, 1500)]
# A round of one contender lasts about this long.
SECONDS = 0.01


def forward(function: Callable[..., torch.Tensor], shape: tuple[int, ...], affine: bool) -> Call:
    x = torch.randn(shape)
    w = b = None
    if affine:
        w, b = torch.ones(shape[1]), torch.zeros(shape[1])

    def call() -> object:
        with torch.no_grad():
            return function(x, weight=w, bias=b)

    return call


def layer(cls: type[torch.nn.Module], shape: tuple[int, ...]) -> Call:
    norm, x = cls(shape[1]), torch.randn(shape)  # type: ignore[call-arg]

    def call() -> object:
        with torch.no_grad():
            return norm(x)

    return call


def step(cls: type[torch.nn.Module], shape: tuple[int, ...]) -> Call:
    """Forward and backward of an affine layer, gradients of input, weight and bias."""
    norm = cls(shape[1], affine=True)  # type: ignore[call-arg]
    x, g = torch.randn(shape, requires_grad=True), torch.randn(shape)
    tensors = [x, *norm.parameters()]

    def call() -> object:
        return torch.autograd.grad(norm(x), tensors, g)

    return call


def contenders() -> dict[str, tuple[Call, Call]]:
    """By name: ours and PyTorch's."""
    ours, theirs = it.functional.instance_norm, F.instance_norm
    mine, plain = it.InstanceNorm1d, torch.nn.InstanceNorm1d
    found = {}
    for shape in SHAPES:
        name = str(shape).replace(" ", "")
        found[f"function {name}"] = forward(ours, shape, False), forward(theirs, shape, False)
        found[f"function, affine {name}"] = forward(ours, shape, True), forward(theirs, shape, True)
        found[f"layer {name}"] = layer(mine, shape), layer(plain, shape)
        found[f"training step {name}"] = step(mine, shape), step(plain, shape)
    return found


def calls_per_round(call: Call) -> int:
    start = time.perf_counter()
    call()
    return max(1, int(SECONDS / (time.perf_counter() - start)))


def seconds(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def check() -> None:
    x = torch.randn(4, 3, 100)
    torch.testing.assert_close(it.functional.instance_norm(x), F.instance_norm(x))


def measure(rounds: int) -> list[dict[str, object]]:
    rows = []
    for name, pair in contenders().items():
        for call in pair:
            seconds(call, 3)
        counts = [calls_per_round(call) for call in pair]
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for call, count, into in zip(pair, counts, times):
                into.append(seconds(call, count) * 1e6)
        rows.append({
            "case": name,
            "instnorm": statistics.median(times[0]),
            "pytorch": statistics.median(times[1]),
            "instnorm_min": min(times[0]),
            "pytorch_min": min(times[1]),
        })
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    check()
    rows = measure(arguments.rounds)
    if arguments.json:
        facts = {"instnorm": instnorm.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
        print(json.dumps({**facts, "rows": rows}, indent=1))
        return
    print(f"{'microseconds':38} {'instnorm':>10} {'PyTorch':>10} {'ratio':>6} {'of minima':>10}")
    for row in rows:
        ratio = row["instnorm"] / row["pytorch"]  # type: ignore[operator]
        least = row["instnorm_min"] / row["pytorch_min"]  # type: ignore[operator]
        print(f"{row['case']:38} {row['instnorm']:10.1f} {row['pytorch']:10.1f} {ratio:6.2f} {least:10.2f}")


if __name__ == "__main__":
    main()
