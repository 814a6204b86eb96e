#!/usr/bin/env python3
"""The tables of the README: accuracy and speed beside PyTorch and NumPy, measured here and now.

    bench_peers.py --instnorm PATH [--threads K] [--accuracy | --speed] [--shape N,C,L]... [--rounds R]

PATH is the command that the build made. Needs numpy, and torch in this Python or in python3.

Accuracy: the largest error of y against the definition in float64, for normal rows of std 1 about
several means, (4, 8, 4096) in float32.

Speed: float32 forward. Each side is timed beside a copy of its own tensor, in turn with it: instnorm
by `instnorm bench` (into memory that is there), PyTorch by peer_torch.py (which allocates its result,
as its callers have it). The two processes alternate, R rounds; figures are medians over the rounds of
(time of the norm) / (time of the copy), and the last column is the quotient of the two.
"""

import argparse
import statistics
import sys

import numpy

import peers

MEANS = [0.0, 1e2, 1e4, 1e6]
SHAPES = ["20,100,40", "4096,7,96", "32,64,1000", "8,512,4096", "1,2,10000000"]


def table(header, rows):
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def accuracy(args):
    normal = numpy.random.default_rng(1).standard_normal((4, 8, 4096))
    xs = [(normal + mean).astype(numpy.float32) for mean in MEANS]
    ours = peers.apply(args.instnorm, xs)
    torch = peers.torch_results(xs, args.threads, seconds=0.05)
    numpys = [peers.definition(x, numpy.float32) for x in xs]
    rows = []
    for mean, x, y, theirs, by_numpy in zip(MEANS, xs, ours, torch["results"], numpys):
        results = (y, theirs["y"]["instance_norm"], theirs["y"]["group_norm"], by_numpy)
        rows.append([f"{mean:g}"] + [f"{peers.largest_error(r, x):.1e}" for r in results])
    table(["mean of the rows", "instnorm", f"PyTorch {torch['version']} `instance_norm`",
           "PyTorch `group_norm(C, C)`", f"NumPy {numpy.__version__}, float32"], rows)


def speed(args):
    shapes = [tuple(map(int, shape.split(","))) for shape in args.shape or SHAPES]
    generator = numpy.random.default_rng(1)
    rows = []
    for shape in shapes:
        x = generator.standard_normal(shape, dtype=numpy.float32)
        ours, instance, group = [], [], []
        for _ in range(args.rounds):
            (mine,) = peers.bench(args.instnorm, [shape], "--threads", args.threads)
            (theirs,) = peers.torch_results([x], args.threads)["results"]
            ours.append(mine["forward"] / mine["copy"])
            instance.append(theirs["instance_norm"] / theirs["copy"])
            group.append(theirs["group_norm"] / theirs["copy"])
        ours, instance, group = map(statistics.median, (ours, instance, group))
        rows.append([str(shape), f"{ours:.2f}", f"{instance:.1f}", f"{group:.1f}",
                     f"{instance / ours:.1f}"])
    table(["(N, C, L)", "instnorm", "PyTorch `instance_norm`", "PyTorch `group_norm(C, C)`",
           "`instance_norm` / instnorm"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instnorm", required=True, metavar="PATH")
    parser.add_argument("--threads", type=int, help="default: what instnorm would use")
    parser.add_argument("--accuracy", action="store_true", help="this table only")
    parser.add_argument("--speed", action="store_true", help="this table only")
    parser.add_argument("--shape", action="append", metavar="N,C,L")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if peers.python_with_torch() is None:
        sys.exit("bench_peers: neither this Python nor python3 has torch and numpy")
    info = peers.info(args.instnorm)
    args.threads = args.threads or info["threads"]
    print(f"instnorm {info['version']}, {info['cpu_target']}, threads: {args.threads}\n")
    if not args.speed:
        accuracy(args)
    if not args.accuracy:
        speed(args)


if __name__ == "__main__":
    main()
