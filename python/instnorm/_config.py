"""What the library runs on."""

import platform

import numpy as np

from . import _C


def show_config() -> None:
    """Print what a report of an error should say: versions, instruction sets, threads.

    >>> show_config()  # doctest: +ELLIPSIS
    instnorm ...
    """
    lines = {
        "instnorm": _C.version(),
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "instruction set": f"{_C.cpu_target()} of {', '.join(_C.available_cpu_targets())}",
        "threads": str(_C.get_num_threads()),
        "OpenMP runtime": _C.openmp_library(),
    }
    width = max(map(len, lines))
    print("\n".join(f"{name:{width}}  {value}" for name, value in lines.items()))
