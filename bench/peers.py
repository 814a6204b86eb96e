"""How the demo and the benchmarks run the command and, where it is installed, PyTorch."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy

EPS = 1e-5
PEER = pathlib.Path(__file__).parent / "peer_torch.py"


def run(command):
    """Standard output of a command; an error that shows what it said if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(str(part) for part in command)}\n{done.stderr.strip()}")
    return done.stdout


def python_with_torch():
    """An interpreter that has PyTorch: this one, or the first python3 on PATH; None if neither."""
    has_both = ("import importlib.util as u, sys; "
                "sys.exit(not (u.find_spec('torch') and u.find_spec('numpy')))")
    for python in (sys.executable, shutil.which("python3")):
        if python and subprocess.run([python, "-c", has_both], capture_output=True).returncode == 0:
            return python
    return None


def torch_results(arrays, threads, seconds=0.5):
    """What PyTorch makes of the arrays, and how fast (peer_torch.py); None where it is missing."""
    python = python_with_torch()
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        files = []
        for i, x in enumerate(arrays):
            files.append(folder / f"in{i}.npy")
            numpy.save(files[-1], x)
        report = json.loads(run([python, PEER, "--threads", threads, "--seconds", seconds,
                                 "--save", folder, *files]))
        for i, result in enumerate(report["results"]):
            result["y"] = {name: numpy.load(folder / f"{name}-{i}.npy")
                           for name in ("instance_norm", "group_norm")}
    return report


def info(instnorm):
    return json.loads(run([instnorm, "info", "--json"]))


def bench(instnorm, shapes, *options):
    """Seconds of one call and of the fastest copy for each shape, by `instnorm bench`."""
    wanted = [part for shape in shapes for part in ("--shape", ",".join(map(str, shape)))]
    report = json.loads(run([instnorm, "bench", "--json", *wanted, *options]))
    size = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}[report["dtype"]]
    results = []
    for result in report["results"]:
        moved = 2 * size * int(numpy.prod(result["shape"]))  # read and written
        results.append({"forward": moved / result["forward_gb_per_s"] * 1e-9,
                        "copy": moved / result["copy_gb_per_s"] * 1e-9})
    return results


def apply(instnorm, arrays, *options, lengths=None):
    """What `instnorm apply` makes of the arrays, file by file."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if lengths is not None:
            numpy.save(folder / "lengths.npy", lengths)
            options = (*options, "--lengths", folder / "lengths.npy")
        for i, x in enumerate(arrays):
            numpy.save(folder / "in.npy", x)
            run([instnorm, "apply", folder / "in.npy", folder / f"out{i}.npy", "--eps", EPS,
                 *options])
            results.append(numpy.load(folder / f"out{i}.npy"))
    return results


def definition(x, dtype=numpy.float64, there=True):
    """The formula, step by step, in the arithmetic of that dtype, of the values that are there."""
    x = x.astype(dtype)
    mean = x.mean(axis=-1, keepdims=True, where=there)
    var = ((x - mean) ** 2).mean(axis=-1, keepdims=True, where=there)
    return (x - mean) / numpy.sqrt(var + dtype(EPS))


def largest_error(y, x, there=True):
    """Of y as the normalised x, against the definition in float64."""
    error = numpy.abs(y - definition(x, there=there))
    return float(error.max(initial=0.0, where=there))
