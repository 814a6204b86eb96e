#!/usr/bin/env python3
"""PyTorch's side of a comparison: times its operators on arrays of .npy files, in one process.

    peer_torch.py --threads K [--seconds S] [--save DIR] IN.npy...

Prints JSON: PyTorch's version and threads and, for each file, the median seconds of instance_norm,
of group_norm with a group for each channel (the known faster way), and of a copy of the tensor into
memory that is there. The three take turns, so that what else the machine does hits them alike.
With --save, DIR/instance_norm-K.npy and DIR/group_norm-K.npy are what they made of the K-th file.
Needs torch and numpy only.
"""

import argparse
import json
import pathlib
import statistics
import time

import numpy
import torch

EPS = 1e-5


def median_seconds(calls, seconds):
    """Median time of one call of each, interleaved, repeated for that long."""
    repeats = {}
    for name, call in calls.items():
        call()  # pages, caches and threads are there afterwards
        start = time.perf_counter()
        call()
        once = time.perf_counter() - start
        repeats[name] = max(1, int(100e-6 / max(once, 1e-9)))  # the clock costs 50 to 100 ns
    times = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 7:
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return {name: statistics.median(t) for name, t in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each file")
    parser.add_argument("--save", type=pathlib.Path, metavar="DIR")
    parser.add_argument("files", nargs="+", metavar="IN.npy")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    results = []
    for i, path in enumerate(args.files):
        x = torch.from_numpy(numpy.load(path))
        room = torch.empty_like(x)
        norms = {
            "instance_norm": lambda: torch.nn.functional.instance_norm(x, eps=EPS),
            "group_norm": lambda: torch.nn.functional.group_norm(x, x.shape[1], eps=EPS),
        }
        results.append(median_seconds({**norms, "copy": lambda: room.copy_(x)}, args.seconds))
        if args.save:
            for name, norm in norms.items():
                numpy.save(args.save / f"{name}-{i}.npy", norm().numpy())
    print(json.dumps({"version": torch.__version__, "threads": torch.get_num_threads(),
                      "results": results}))


if __name__ == "__main__":
    main()
