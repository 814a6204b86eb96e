"""PyTorch's errors on the named cases, beside those that `error_table` printed.

    build/release/tests/error_table FOLDER > FOLDER/ours.md
    python tests/python/error_table.py FOLDER

Prints a Markdown table of the largest error of the float32 forward, |y - reference| / (1 + |reference|),
for this library (from ours.md) and for PyTorch, against a float64 two-pass reference. The data's own
mean is taken off before its mean is taken again, so that float64 is enough at any |mean| / std here.
"""

import pathlib
import sys

import numpy as np
import torch


def reference(x, eps):
    x = x.astype(np.float64)
    d = x - x.mean(-1, keepdims=True)
    d -= d.mean(-1, keepdims=True)
    var = np.square(d).mean(-1, keepdims=True)
    return d / np.sqrt(var + eps)


def error(y, ref):
    return np.max(np.abs(y.astype(np.float64) - ref) / (1.0 + np.abs(ref)))


def ours(folder):
    errors = {}
    for line in (folder / "ours.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        if len(cells) >= 3 and cells[1] == "float32":
            errors[cells[0].removeprefix("| ")] = cells[2]
    return errors


def main():
    folder = pathlib.Path(sys.argv[1])
    table = ours(folder)
    print(f"| case | instnorm | PyTorch {torch.__version__} |\n|---|---|---|")
    for line in (folder / "cases.txt").read_text().splitlines():
        file, length, eps, name = line.split("\t")
        x = np.fromfile(folder / file, dtype=np.float32).reshape(2, 3, int(length))
        y = torch.nn.functional.instance_norm(torch.from_numpy(x), eps=float(eps)).numpy()
        print(f"| {name} | {table[name]} | {error(y, reference(x, float(eps))):.1e} |")


if __name__ == "__main__":
    main()
