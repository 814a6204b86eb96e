#!/usr/bin/env python3
"""Each extra beside instnorm's plain call and beside what people write by hand in PyTorch (by_hand.py).

    bench_extras.py [--rounds R] [--shape N,C,L]... [--threads K] [--only NAME]... [--json]
    bench_extras.py --digits

One process, all sides in turn, tensors float32 of mean 0 and std 1, allocation of the result included.
Before it times a case it checks that both sides give the same values and gradients. A figure is the median
over R rounds: microseconds of one call of the extra, its time / the plain call's, and the time by hand / its
time. Lengths are from L / 2 to L, masks have three quarters of the values, a tenth is NaN where some are.

--digits prints the largest |y - y_ref| / (1 + |y_ref|) of both sides instead, rows of std 1 about a mean,
(4, 8, 4096), y_ref by hand in float64.
Needs instnorm and torch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import by_hand
import instnorm
from instnorm.torch import Moments, RevIN, functional

Function = Callable[..., Any]
SHAPES = ["16,80,1500", "32,512,3000"]
# A round of one side lasts about this long, or one call: the clock costs 0.1 us.
SECONDS = 0.005
# Of the means of rows for --digits.
OFFSETS = (0.0, 100.0, 10000.0)
# float32 against float32 of rows of std 1, whose y is below 6; gradients are sums over up to N * L of them.
TOLERANCE = {"forward": 1e-5, "backward": 1e-3}

norm = functional.instance_norm


class Case(NamedTuple):
    ours: Function  # of the tensors in `inputs`
    by_hand: Function | None
    inputs: list[Tensor]  # those that have gradients; x first
    backward: bool = True
    plain: Tensor | None = None  # where the plain call is not of the case's own x
    digits: bool = True  # does by_hand take float64?


def mean_and_variance(x: Tensor) -> tuple[Tensor, Tensor]:
    m = functional.moments(x)
    return m.mean.float(), m.var().float()


def streamed(chunk: Tensor) -> Tensor:
    heard = Moments.empty(1, chunk.shape[1])
    return norm(chunk, moments=heard.merge(functional.moments(chunk)))


def streamed_arrays(chunk: Tensor) -> Tensor:
    x = chunk.numpy()
    heard = instnorm.Moments.empty(1, x.shape[1]).merge(instnorm.moments(x))
    return torch.from_numpy(instnorm.instance_norm(x, moments=heard))


def streamed_arrays_by_hand(chunk: Tensor) -> Tensor:
    (x,) = chunk.numpy()
    nothing = np.zeros(len(x), np.float32)
    return torch.from_numpy(by_hand.running_sums_of_arrays(x, 0, nothing, nothing)[0])


def cases(n: int, c: int, length: int, offset: float = 0.0) -> dict[str, Case]:
    x = offset + torch.randn(n, c, length)
    last = x.transpose(1, 2).contiguous()
    lengths = torch.linspace(length // 2, length, n).round().long()
    mask = torch.rand(n, length) < 0.75
    holes = torch.where(torch.rand_like(x) < 0.1, torch.nan, x)
    gamma, beta = torch.randn(n, c), torch.randn(n, c)
    m = functional.moments(x)
    mean, var = m.mean.float(), m.var().float()
    chunk = x[:1, :, :160].contiguous()
    ours, theirs = RevIN(c), by_hand.RevIN(c)
    return {
        "plain": Case(norm, F.instance_norm, [x]),
        "lengths": Case(lambda x: norm(x, lengths=lengths), lambda x: by_hand.masked_norm(x, lengths), [x]),
        "mask": Case(lambda x: norm(x, mask=mask), lambda x: by_hand.mask_norm(x, mask), [x]),
        'nan_policy="omit"': Case(lambda x: norm(x, nan_policy="omit"), by_hand.nan_norm, [holes]),
        "weight and bias (N, C), weight_offset": Case(
            lambda x, w, b: norm(x, weight=w, bias=b, weight_offset=1.0), by_hand.adain, [x, gamma, beta]
        ),
        'data_format="NLC"': Case(lambda x: norm(x, data_format="NLC"), by_hand.channels_last, [last]),
        'activation="relu"': Case(lambda x: norm(x, activation="relu"), lambda x: F.relu(F.instance_norm(x)), [x]),
        'activation="gelu"': Case(lambda x: norm(x, activation="gelu"), lambda x: F.gelu(F.instance_norm(x)), [x]),
        'activation="silu"': Case(lambda x: norm(x, activation="silu"), lambda x: F.silu(F.instance_norm(x)), [x]),
        "given moments": Case(lambda x: norm(x, moments=m), lambda x: by_hand.normalize_by(x, mean, var), [x], digits=False),
        "return_moments": Case(lambda x: norm(x, return_moments=True)[0], None, [x]),
        "moments": Case(mean_and_variance, by_hand.mean_and_variance, [x], backward=False, digits=False),
        "denormalize": Case(
            lambda x: functional.denormalize(x, m), lambda x: by_hand.way_back(x, mean, var), [x], False, digits=False
        ),
        "RevIN, norm": Case(lambda x: ours(x, "norm"), lambda x: theirs(x, "norm"), [last]),
        "RevIN, norm and denorm": Case(
            lambda x: ours(ours(x, "norm"), "denorm"), lambda x: theirs(theirs(x, "norm"), "denorm"), [last],
            digits=False,
        ),
        "a chunk (1, C, 160) of a stream": Case(
            streamed, lambda x: by_hand.RunningSums(c)(x[0]), [chunk], False, chunk, False
        ),
        "a chunk (1, C, 160) of a stream, arrays": Case(
            streamed_arrays, streamed_arrays_by_hand, [chunk], False, chunk, False
        ),
    }


def first(result: Any) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


def forward(f: Function, inputs: list[Tensor]) -> Callable[[], Any]:
    def call() -> Any:
        with torch.no_grad():
            return f(*inputs)

    return call


def step(f: Function, inputs: list[Tensor]) -> Callable[[], Any]:
    """Forward and backward."""
    leaves = [t.clone().requires_grad_() for t in inputs]
    # Laid out like x, as what comes from a layer behind mostly is.
    g = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1))
    return lambda: torch.autograd.grad(first(f(*leaves)), leaves, g)


KINDS: dict[str, Callable[[Function, list[Tensor]], Callable[[], Any]]] = {"forward": forward, "backward": step}


def same(kind: str, mine: Any, theirs: Any) -> None:
    """Gradients of what is NaN are whatever the other side says."""
    if isinstance(mine, Tensor):
        mine, theirs = (mine,), (theirs,)
    for a, b in zip(mine, theirs, strict=True):
        close = (a - b).abs() <= TOLERANCE[kind] * (1 + b.abs())
        if not bool((close | b.isnan()).all()):
            raise SystemExit(f"the sides differ by {(a - b).abs().nan_to_num().max():.3g}")


def seconds(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def measure(sides: list[Callable[[], Any]], rounds: int) -> list[list[float]]:
    counts = [max(1, int(SECONDS / seconds(side, 1))) for side in sides]
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, count, into in zip(sides, counts, times):
            into.append(seconds(side, count))
    return times


def ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below))


def row(name: str, kind: str, case: Case, plain: Tensor, rounds: int) -> dict[str, Any]:
    make = KINDS[kind]
    sides = [make(case.ours, case.inputs)]
    if case.by_hand is not None:
        sides.append(make(case.by_hand, case.inputs))
        same(kind, sides[0](), sides[1]())
    sides.append(make(norm, [plain]))
    times = measure(sides, rounds)
    return {
        "name": name,
        "kind": kind,
        "us": statistics.median(times[0]) * 1e6,
        "of_plain": ratio(times[0], times[-1]),
        "by_hand": ratio(times[1], times[0]) if case.by_hand is not None else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shape", action="append", metavar="N,C,L")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--digits", action="store_true")
    arguments = parser.parse_args()
    if arguments.digits:
        print(digits())
        return
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {
        "instnorm": instnorm.__version__,
        "torch": torch.__version__,
        "threads": arguments.threads,
        "load": [],
        "rows": [],
    }
    for text in arguments.shape or SHAPES:
        torch.manual_seed(0)
        shape = tuple(int(size) for size in text.split(","))
        made = cases(*shape)
        (x,) = made["plain"].inputs
        for name, case in made.items():
            if arguments.only and name not in arguments.only:
                continue
            for kind in ("forward", "backward") if case.backward else ("forward",):
                report["rows"].append({"shape": shape, **row(name, kind, case, x if case.plain is None else case.plain, arguments.rounds)})
        report["load"].append(os.getloadavg()[0])
    print(json.dumps(report, indent=1) if arguments.json else table(report))


def digits() -> str:
    lines = ["| mean | " + " | ".join(f"{offset:g}" for offset in OFFSETS) + " |", "|---|" + "---|" * len(OFFSETS)]
    cells: dict[str, list[str]] = {}
    for offset in OFFSETS:
        torch.manual_seed(0)
        for name, case in cases(4, 8, 4096, offset).items():
            if case.by_hand is None or not case.digits:
                continue
            with torch.no_grad():
                wide = case.by_hand(*(t.double() for t in case.inputs))
                errors = [
                    ((f(*case.inputs) - wide).abs() / (1 + wide.abs())).nan_to_num().max() for f in case[:2]
                ]
            cells.setdefault(name, []).append(f"{errors[0]:.1e}, by hand {errors[1]:.1e}")
    lines += [f"| {name} | " + " | ".join(row) + " |" for name, row in cells.items()]
    return "\n".join(lines)


def time_text(us: float) -> str:
    return f"{us:.3g} us" if us < 1e3 else f"{us / 1e3:.3g} ms" if us < 1e6 else f"{us / 1e6:.3g} s"


def table(report: dict[str, Any]) -> str:
    """A cell: microseconds, / plain, by hand /."""
    shapes = list(dict.fromkeys(row["shape"] for row in report["rows"]))
    found = {(row["name"], row["shape"], row["kind"]): row for row in report["rows"]}

    def cell(name: str, shape: tuple[int, ...], kind: str) -> str:
        if (name, shape, kind) not in found:
            return ""
        r = found[name, shape, kind]
        by_hand = "" if r["by_hand"] is None else f", {r['by_hand']:.2g} x"
        return f"{time_text(r['us'])}, {r['of_plain']:.2f}{by_hand}"

    columns = [(shape, kind) for shape in shapes for kind in KINDS]
    lines = [
        f"float32, {report['threads']} threads, PyTorch {report['torch']}, load "
        + " ".join(f"{load:.1f}" for load in report["load"]),
        "",
        "| | " + " | ".join(f"{shape} {'forward' if kind == 'forward' else 'forward and backward'}" for shape, kind in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for name in dict.fromkeys(row["name"] for row in report["rows"]):
        lines.append(f"| {name} | " + " | ".join(cell(name, *column) for column in columns) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
