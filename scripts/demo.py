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


class Signal:
    """A recording: x (N, C, L), and which of its values are there."""

    def __init__(self, name, what, x, *remarks, lengths=None, missing=False):
        self.name, self.what, self.x, self.remarks = name, what, x, remarks
        self.lengths = lengths  # of each instance, where shorter ones are padded
        self.missing = missing  # are some values NaN?
        self.there = numpy.ones(x.shape, bool)
        if lengths is not None:
            self.there &= numpy.arange(x.shape[-1]) < lengths[:, None, None]
        if missing:
            self.there &= ~numpy.isnan(x)

    def plain(self):
        return self.lengths is None and not self.missing

    def normalised(self, instnorm):
        options = ["--nan-policy", "omit"] if self.missing else []
        return peers.apply(instnorm, [self.x], *options, lengths=self.lengths)[0]

    def within_contract(self, y):
        reference = peers.definition(self.x, there=self.there)
        near = numpy.abs(y - reference) <= CONTRACT * (1 + numpy.abs(reference))
        absent = numpy.isnan(y) if self.missing else y == 0
        return bool(numpy.where(self.there, near, absent).all())


def signals():
    data = ROOT / "data"
    ecg = numpy.load(data / "ecg.npy")
    lengths = numpy.load(data / "japanese_vowels_lengths.npy")
    co2 = numpy.load(data / "co2.npy")
    return [
        Signal("Motions", "a smart watch's accelerometer and gyroscope",
               numpy.load(data / "basic_motions.npy")),
        Signal("ECG", "five minutes of heartbeats", ecg.astype(numpy.float32),
               f"{ecg.dtype} counts of the converter, made float32 by this script"),
        Signal("Vowels", "cepstrum coefficients of spoken vowels", numpy.load(data / "japanese_vowels.npy"),
               f"{len(lengths)} utterances of {lengths.min()} to {lengths.max()} steps in one padded batch, by --lengths",
               lengths=lengths),
        Signal("CO2", "the air at Mauna Loa, week by week", co2,
               f"{numpy.isnan(co2).sum()} weeks are missing, NaN, left out by --nan-policy omit", missing=True),
    ]


def span(values, digits=3):
    low, high = (float(f"{v:.{digits}g}") for v in (min(values), max(values)))
    return f"{low:g} to {high:g}" if low != high else f"{low:g}"


def rows_text(x, there):
    """Mean and standard deviation of the rows, in float64."""
    rows = [row[valid].astype(numpy.float64) for row, valid in
            zip(x.reshape(-1, x.shape[-1]), there.reshape(-1, x.shape[-1]))]
    return (f"rows have mean {span([row.mean() for row in rows])},"
            f" std {span([row.std() for row in rows])}")


def time_text(seconds):
    return f"{seconds * 1e6:.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def report(instnorm, signal, theirs):
    """Prints the paragraph of one signal, beside what PyTorch made of it (None where it is missing);
    returns what it became and whether that is right."""
    x, there = signal.x, signal.there
    y = signal.normalised(instnorm)
    right = signal.within_contract(y)

    def line(label, text):
        print(f"  {label:<10}{text}")

    print(f"\n{signal.name}: {signal.what}")
    line("input", f"{x.shape} {x.dtype}")
    for remark in signal.remarks:
        line("", remark)
    line("before", rows_text(x, there))
    line("after", rows_text(y, there))
    if signal.plain():
        ours = peers.bench(instnorm, [x.shape])[0]
        line("time", f"{time_text(ours['forward'])}; copying the same memory takes"
                     f" {time_text(ours['copy'])}")
        if theirs:
            ratio = theirs["instance_norm"] / ours["forward"]
            line("", f"PyTorch takes {time_text(theirs['instance_norm'])}: {ratio:.3g} times as long")
    error = f"at most {peers.largest_error(y, x, there):.1e} from the definition in float64"
    if theirs:
        their_error = peers.largest_error(theirs["y"]["instance_norm"], x, there)
        if signal.missing:
            error += "; PyTorch makes the row NaN"
        else:
            padding = "" if signal.lengths is None else ", which takes the padding for signal,"
            error += f"; PyTorch{padding} {their_error:.1e}"
    line("error", error)
    line("check", "every value within 1e-6 * (1 + |y|)" if right else "FAILED: beyond 1e-6 * (1 + |y|)")
    return y, right


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instnorm", required=True, metavar="PATH")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "demo-output", metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=0.5, help="that PyTorch is timed for a signal")
    args = parser.parse_args()

    machine = peers.info(args.instnorm)
    print(f"instnorm {machine['version']}: instruction set {machine['cpu_target']},"
          f" {machine['threads']} thread{'s' if machine['threads'] > 1 else ''}")
    print("y = (x - mean) / sqrt(var + 1e-5), mean and var of each row: one instance, one channel")
    everything_right = True
    pictures, recordings = [], signals()
    torch = peers.torch_results([signal.x for signal in recordings], machine["threads"], args.seconds)
    for i, signal in enumerate(recordings):
        y, right = report(args.instnorm, signal, torch["results"][i] if torch else None)
        everything_right = everything_right and right
        pictures.append((signal.x, y, signal.there))

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
