"""Normalises a .npy file whose rows do not fit into memory, in two passes over each row.

    larger_than_memory.py IN.npy OUT.npy [CHUNK]

IN is (N, C, L) or (C, L), float32 or float64, in C order. At any time CHUNK values are in memory, twice:
read and normalised. (`instnorm apply` holds a whole instance.)
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

import instnorm

Array = NDArray[Any]
CHUNK = 1 << 20


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype; leaves the file where the values begin."""
    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if fortran or dtype not in (np.dtype(np.float32), np.dtype(np.float64)) or len(shape) not in (2, 3):
        sys.exit("IN must be (N, C, L) or (C, L), float32 or float64, in C order")
    return shape, dtype


def chunks(file: BinaryIO, dtype: np.dtype[Any], start: int, length: int, most: int) -> Iterator[Array]:
    """`length` values from the byte `start` on, as arrays (1, most) and a shorter last one."""
    for first in range(0, length, most):
        file.seek(start + first * dtype.itemsize)
        values = np.fromfile(file, dtype, min(most, length - first))
        if len(values) < min(most, length - first):
            sys.exit("IN is too short")
        yield values[np.newaxis]


def normalise(source: Path, target: Path, most: int = CHUNK) -> None:
    with contextlib.ExitStack() as files:
        read = files.enter_context(source.open("rb"))
        shape, dtype = read_header(read)
        start = read.tell()
        write = files.enter_context(target.open("xb"))
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(write, header)
        length = shape[-1]
        for row in range(int(np.prod(shape[:-1]))):
            at = start + row * length * dtype.itemsize
            moments = instnorm.Moments.empty(1, 1)
            for x in chunks(read, dtype, at, length, most):
                moments = moments.merge(instnorm.moments(x))
            for x in chunks(read, dtype, at, length, most):
                instnorm.instance_norm(x, moments=moments, out=x).tofile(write)


if __name__ == "__main__":
    normalise(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
