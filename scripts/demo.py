#!/usr/bin/env python3
"""Normalises real signals with the command `instnorm`, checks the results, draws some of them.

    demo.py --instnorm PATH [--output FOLDER] [--seconds S]

PATH is the command that the build made (build/demo/tools/instnorm). Prints what each signal was and
became, how long it took beside PyTorch where that is installed, and how far both are from the
definition in float64. Fails if a result is not what the definition says.
"""

import argparse
import os
import pathlib
import sys

import numpy

import demo_figure

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
import peers  # noqa: E402

# The contract of docs/numerics.md for float32: |y - y_ref| <= 1e-6 * (1 + |y_ref|).
CONTRACT = 1e-6


def signals():
    """(name, what it is, arrays of one kind, remark) of each."""
    data = ROOT / "data"
    motions = numpy.load(data / "basic_motions.npy")
    ecg = numpy.load(data / "ecg.npy")
    vowels = numpy.load(data / "japanese_vowels.npy")
    lengths = numpy.load(data / "japanese_vowels_lengths.npy")
    by_length = [vowels[lengths == l][:, :, :l].copy() for l in numpy.unique(lengths)]
    return [
        ("Motions", "a smart watch's accelerometer and gyroscope", [motions], None),
        ("ECG", "five minutes of heartbeats", [ecg.astype(numpy.float32)],
         f"{ecg.dtype} counts of the converter, made float32 by this script"),
        ("Vowels", "cepstrum coefficients of spoken vowels", by_length,
         f"{len(vowels)} utterances of {lengths.min()} to {lengths.max()} steps; a padded batch"
         f" needs lengths,\nwhich this version does not have, so each length is a call of its own"),
    ]


def span(values, digits=3):
    low, high = (float(f"{v:.{digits}g}") for v in (min(values), max(values)))
    return f"{low:g} to {high:g}" if low != high else f"{low:g}"


def rows_of(arrays):
    """Mean and standard deviation of each row, in float64."""
    rows = [row.astype(numpy.float64) for x in arrays for row in x.reshape(-1, x.shape[-1])]
    return [row.mean() for row in rows], [row.std() for row in rows]


def shapes_text(arrays):
    if len(arrays) == 1:
        return str(arrays[0].shape)
    n = [x.shape[0] for x in arrays]
    return (f"{len(arrays)} arrays (N, {arrays[0].shape[1]}, L), N {min(n)} to {max(n)},"
            f" L {arrays[0].shape[-1]} to {arrays[-1].shape[-1]}")


def time_text(seconds):
    return f"{seconds * 1e6:.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def within_contract(xs, ys):
    references = [peers.definition(x) for x in xs]
    return all((numpy.abs(y - r) <= CONTRACT * (1 + numpy.abs(r))).all()
               for y, r in zip(ys, references))


def report(instnorm, name, what, xs, remark, machine, seconds):
    """Prints the paragraph of one signal; returns what it became and whether that is right."""
    ys = peers.apply(instnorm, xs)
    right = within_contract(xs, ys)
    ours = peers.bench(instnorm, [x.shape for x in xs])
    torch = peers.torch_results(xs, machine["threads"], seconds)
    total = sum(result["forward"] for result in ours)
    copy = sum(result["copy"] for result in ours)

    def line(label, text):
        print(f"  {label:<10}" + text.replace("\n", "\n" + " " * 12))

    print(f"\n{name}: {what}")
    line("input", f"{shapes_text(xs)} {xs[0].dtype}" + (f"\n{remark}" if remark else ""))
    for label, arrays in (("before", xs), ("after", ys)):
        mean, std = rows_of(arrays)
        line(label, f"rows have mean {span(mean)}, std {span(std)}")
    calls = "" if len(xs) == 1 else f" for {len(xs)} calls"
    line("time", f"{time_text(total)}{calls}; copying the same memory takes {time_text(copy)}")
    error = f"at most {max(map(peers.largest_error, ys, xs)):.1e} from the definition in float64"
    if torch:
        theirs = sum(result["instance_norm"] for result in torch["results"])
        their_ys = [result["y"]["instance_norm"] for result in torch["results"]]
        error += f"; PyTorch {max(map(peers.largest_error, their_ys, xs)):.1e}"
        line("", f"PyTorch takes {time_text(theirs)}: {theirs / total:.3g} times as long")
    line("error", error)
    line("check", "every value within 1e-6 * (1 + |y|)" if right else "FAILED: beyond 1e-6 * (1 + |y|)")
    return ys, right, torch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instnorm", required=True, metavar="PATH")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "demo-output", metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=0.5, help="that PyTorch is timed for an array")
    args = parser.parse_args()

    machine = peers.info(args.instnorm)
    print(f"instnorm {machine['version']}: instruction set {machine['cpu_target']},"
          f" {machine['threads']} thread{'s' if machine['threads'] > 1 else ''}")
    print("y = (x - mean) / sqrt(var + 1e-5), mean and var of each row: one instance, one channel")
    everything_right = True
    pictures, torch = [], None
    for name, what, xs, remark in signals():
        # Twenty lengths of vowels: together as long as one array.
        ys, right, torch = report(args.instnorm, name, what, xs, remark, machine,
                                  args.seconds / len(xs))
        everything_right = everything_right and right
        pictures.append((xs, ys))

    print()
    if torch:
        print(f"PyTorch {torch['version']}, {torch['threads']} threads. Times are medians in memory,"
              " each library in a process of its own.")
    else:
        print("PyTorch is not installed here, so nothing is compared with it (`make test` installs it).")
    busy, cores = os.getloadavg()[0], os.cpu_count()
    if busy > 1.5 * cores:
        print(f"This machine is busy (load {busy:.0f} on {cores} cores): take the times for nothing.")
    args.output.mkdir(parents=True, exist_ok=True)
    picture = args.output / "instnorm-demo.png"
    demo_figure.draw(pictures, picture)
    print(f"Picture: {picture}")
    return 0 if everything_right else 1


if __name__ == "__main__":
    sys.exit(main())
