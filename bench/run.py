#!/usr/bin/env python3
"""All measurements of one machine: what `make bench` runs.

    run.py --suite PATH [--out DIR] [--name MACHINE] [--threads K]... [--quick]

1. The suite (bench/suite.cc): forward and backward over lengths, dtypes and layouts, as multiples of the
   fastest loop that moves the same bytes, for each number of threads.
2. The libraries of libraries.py, each in turn with the others and with a copy, over lengths.

Prints both as tables, and writes DIR/MACHINE.json, with all figures and the versions, and DIR/MACHINE.png,
the libraries as multiples of the copy over the length. Take figures from a quiet machine only.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

import numpy

import libraries

LENGTHS = [17, 40, 100, 200, 500, 1000, 4000, 20000]
BYTES = 4_000_000  # of x: beyond the second-level cache
ROUNDS = 15


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def suite(path, threads, quick):
    """Name of the benchmark -> multiple of the limit."""
    command = [path, "--benchmark_format=json"]
    if quick:
        command.append("--benchmark_filter=/L3/L=(40|1000)/")
    # As callers have it: threads that wait spin for a while. Beside other libraries they would be in their way.
    environment = {**os.environ, "INSTNORM_NUM_THREADS": str(threads)}
    environment.pop("OMP_WAIT_POLICY", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    wrong = [b for b in report["benchmarks"] if b.get("error_occurred")]
    if wrong:
        sys.exit("\n".join(f"{b['name']}: {b['error_message']}" for b in wrong))
    return report["context"], {re.sub("/iterations.*", "", b["name"]): round(b["of_limit"], 3)
                               for b in report["benchmarks"]}


def print_suite(results):
    """Rows: what and length; columns: place and threads."""
    threads = list(results)
    places = ["L2", "L3", "memory"]
    print("| what | dtype | layout | L | C | " +
          " | ".join(f"{place}, {t}" for place in places for t in threads) + " |")
    print("|" + "---|" * (5 + len(places) * len(threads)))
    rows = {}
    for t in threads:
        for name, value in results[t].items():
            what, dtype, layout, place, length, channels = name.split("/")
            # Where channels are last, C is as much of the shape as L; else it is what fits the place.
            C = channels[2:] if layout == "NLC" else ""
            rows.setdefault((what, dtype, layout, int(length[2:]), C), {})[place, t] = value
    for (what, dtype, layout, length, C), row in rows.items():
        cells = " | ".join(f"{row[place, t]:.2f}" if (place, t) in row else ""
                           for place in places for t in threads)
        print(f"| {what} | {dtype} | {layout} | {length} | {C} | {cells} |")
    print()


def timed(call, repeat):
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat


def compare(threads, lengths, rounds):
    """Length -> library -> multiple of the fastest copy; versions."""
    results, versions = {}, {}
    for length in lengths:
        C = 64
        shape = (max(1, BYTES // 4 // length // C), C, length)
        x = numpy.random.default_rng(1).standard_normal(shape, dtype=numpy.float32)
        calls = {}
        for name, function in {**libraries.COPIES, **libraries.LIBRARIES}.items():
            if libraries.installed(function):
                versions[name], calls[name] = function(x, threads)
        repeats = {}
        for name, call in calls.items():
            for _ in range(3):
                call()
            repeats[name] = max(1, int(2e-3 / max(timed(call, 1), 1e-7)))
        seconds = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                seconds[name].append(timed(call, repeats[name]))
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        copy = min(medians[name] for name in libraries.COPIES if name in medians)
        results[length] = {name: round(value / copy, 3) for name, value in medians.items()
                           if name not in libraries.COPIES}
    return results, versions


def print_comparison(results, threads):
    names = list(next(iter(results.values())))
    print(f"Multiples of a copy, float32, (N, 64, L) of {BYTES // 1_000_000} MB, {threads} thread"
          f"{'s' if threads > 1 else ''}\n")
    print("| L | " + " | ".join(names) + " |")
    print("|" + "---|" * (1 + len(names)))
    for length, row in results.items():
        print(f"| {length} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |")
    print()


def draw(results, threads, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    names = list(next(iter(results.values())))
    for name in names:
        ours = name == "instnorm"
        axes.plot(list(results), [row[name] for row in results.values()], marker="o", markersize=4,
                  linewidth=2.5 if ours else 1.2, color="black" if ours else None, label=name)
    axes.axhline(1, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="length of the rows, L",
             ylabel="time, in copies of the tensor")
    axes.set_title(f"Instance norm of (N, 64, L), {BYTES // 1_000_000} MB of float32, {threads} threads")
    axes.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", required=True, metavar="PATH")
    parser.add_argument("--out", default=pathlib.Path(__file__).parent / "results", type=pathlib.Path)
    parser.add_argument("--name", help="of the machine; default: from its CPU")
    parser.add_argument("--threads", type=int, action="append", help="default: 1 and all")
    parser.add_argument("--quick", action="store_true", help="a few shapes, to see that it works")
    args = parser.parse_args()
    everything = len(os.sched_getaffinity(0))
    threads = args.threads or sorted({1, everything})
    name = args.name or re.sub("[^a-z0-9]+", "-", cpu_name().lower()).strip("-")

    of_suite = {}
    for t in threads:
        context, of_suite[t] = suite(args.suite, t, args.quick)
    print(f"{cpu_name()}, {context['cpu_target']}, instnorm {context['instnorm_version']}; multiples of the "
          "fastest loop that moves the same bytes\n")
    print_suite(of_suite)
    lengths = LENGTHS[1:6:4] if args.quick else LENGTHS
    results, versions = compare(threads[-1], lengths, 3 if args.quick else ROUNDS)
    print_comparison(results, threads[-1])

    args.out.mkdir(parents=True, exist_ok=True)
    report = {"machine": cpu_name(), "cpu_target": context["cpu_target"], "date": time.strftime("%Y-%m-%d"),
              "caches": context.get("caches"), "suite": of_suite, "versions": versions,
              "libraries": {"threads": threads[-1], "bytes": BYTES, "of_copy": results}}
    (args.out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(results, threads[-1], args.out / f"{name}.png")
    print(f"wrote {args.out / name}.json and .png")


if __name__ == "__main__":
    main()
