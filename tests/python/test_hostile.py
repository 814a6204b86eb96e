"""Every argument of every function on arrays, by every hostile value: an error that names the argument, and nothing
written. The calls are generated; what is allowed stands in ALLOWED."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import instnorm

N, C, L = 2, 3, 8


class Slots:
    """An object that is nothing."""


def arrays() -> dict[str, object]:
    """One value of each kind that no array argument here can be: made anew for each call."""
    good = np.linspace(-1, 1, N * C * L, dtype=np.float32)
    packed = np.zeros((N, C), [("a", "u1"), ("f", "f4")])["f"]
    return {
        "a list": [[1.0, 2.0]], "a str": "input", "bytes": b"12345678", "a number": 1.5, "an int": 3, "a dict": {},
        "an object": Slots(), "a class": np.ndarray, "a NumPy scalar": np.float32(1), "a masked array": np.ma.array(good.reshape(N, C, L)),
        "rank 0": np.float32(1) * np.ones(()), "rank 9": np.ones((1,) * 9, np.float32),
        "another shape": np.ones((N + 3, C + 4, L + 5), np.float32), "another length": np.ones(C + 4, np.float32),
        "empty of another shape": np.ones((0, C + 4, 0), np.float32),
        "int8": np.ones((N, C, L), np.int8), "uint64": np.ones((N, C, L), np.uint64), "complex": np.ones((N, C, L), np.complex64),
        "objects": np.full((N, C, L), None), "strings": np.full((N, C, L), "x"), "times": np.zeros((N, C, L), "M8[s]"),
        "longdouble": np.ones((N, C, L), np.longdouble), "the other byte order": np.ones((N, C, L), ">f4"),
        "fields": np.ones((N, C), [("a", "f4"), ("b", "f4")]), "strides of no elements": packed,
        "a huge view": np.lib.stride_tricks.as_strided(np.ones(1, np.float32), (2**20, 2**20, 2**15), (0, 0, 0)),
    }


SCALARS: dict[str, dict[str, object]] = {
    "bool": {"an int": 1, "None": None, "a str": "yes", "an array": np.ones(2)},
    "number": {"None": None, "a str": "1e-5", "a list": [1.0], "complex": 1j, "an array": np.ones(2), "an object": Slots()},
    "str": {"None": None, "an int": 3, "unknown": "hostile", "empty": "", "with a zero": "NCL\0", "long": "N" * 100_000,
            "not UTF-8": "\udcff", "bytes": b"NCL"},
    "Moments": {"None": None, "a tuple": (1, 2, 3), "an array": np.ones((N, C)), "an object": Slots(), "a class": instnorm.Moments,
                "another shape": instnorm.Moments.empty(N + 1, C + 1), "empty": instnorm.Moments.empty(0, 0)},
}
ARRAYS = {"input", "y", "grad_output", "running_mean", "running_var", "weight", "bias", "out", "lengths", "mask"}
KINDS = {"use_input_stats": "bool", "return_moments": "bool", "momentum": "number", "eps": "number", "weight_offset": "number",
         "nan_policy": "str", "data_format": "str", "activation": "str", "moments": "Moments", "m": "Moments"}
# (function, argument, value): what is no error, and why.
ALLOWED = {
    ("instance_norm", "moments", "None"): "the default",
    ("instance_norm", "activation", "None"): "the default",
    ("instance_norm_backward", "activation", "None"): "the default",
    ("moments", "input", "another shape"): "there is nothing that it must agree with",
    ("moments", "input", "empty of another shape"): "the same",
}


def good_call(name: str) -> tuple[dict[str, object], list[np.ndarray]]:
    """Arguments that are right, and the arrays that a call with them would write."""
    x = np.linspace(-1, 1, N * C * L, dtype=np.float32).reshape(N, C, L)
    m = instnorm.moments(x)
    out, mean, var = np.full_like(x, 7), np.full(C, 8, np.float32), np.full(C, 9, np.float32)
    weight, bias = np.ones(C, np.float32), np.zeros(C, np.float32)
    calls: dict[str, tuple[dict[str, object], list[np.ndarray]]] = {
        "instance_norm": (dict(input=x, running_mean=mean, running_var=var, weight=weight, bias=bias, out=out), [out, mean, var]),
        "instance_norm_backward": (dict(grad_output=x.copy(), input=x, moments=m, weight=weight, bias=bias), [x, weight, bias]),
        "moments": (dict(input=x), [x]),
        "denormalize": (dict(y=x, m=m, weight=weight, bias=bias, out=out), [out, x]),
    }
    return calls[name]


FUNCTIONS = ("instance_norm", "instance_norm_backward", "moments", "denormalize")


def parameters_of(name: str) -> list[str]:
    text = getattr(instnorm, name).__text_signature__
    found = list(inspect.signature(getattr(instnorm, name)).parameters) if text else []
    return found or sorted(STUB[name])


STUB = {
    "instance_norm": ARRAYS - {"y", "grad_output"} | KINDS.keys() - {"m"},
    "instance_norm_backward": ARRAYS - {"y", "out", "running_mean", "running_var"} | KINDS.keys() - {"m", "momentum", "return_moments"},
    "moments": {"input", "lengths", "mask", "nan_policy", "data_format"},
    "denormalize": {"y", "m", "weight", "bias", "eps", "weight_offset", "data_format", "out"},
}


def values_of(argument: str) -> dict[str, object]:
    return arrays() if argument in ARRAYS else SCALARS[KINDS[argument]]


TABLE = [(f, a, v) for f in FUNCTIONS for a in sorted(STUB[f]) for v in values_of(a)]


def test_the_table_has_every_function_and_argument() -> None:
    others = {"InstanceNorm1d", "Moments", "__version__", "get_num_threads", "set_num_threads", "release_memory", "show_config"}
    assert {*instnorm.__all__} == {*FUNCTIONS} | others
    for name in FUNCTIONS:
        assert {*parameters_of(name)} == STUB[name]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_hostile_value_is_refused_before_anything_is_written(function: str) -> None:
    wrong = []
    for name, argument, value in TABLE:
        if name != function:
            continue
        arguments, written = good_call(name)
        arguments[argument] = values_of(argument)[value]
        before = [array.tobytes() for array in written]
        where = f"{argument} = {value}"
        try:
            getattr(instnorm, name)(**arguments)
        except (ValueError, TypeError) as error:
            if (name, argument, value) in ALLOWED:
                wrong.append(f"{where}: allowed, but {error}")
            elif argument not in str(error):
                wrong.append(f"{where}: does not name it: {error}")
            elif "\n" in str(error) or len(str(error)) > 1000:
                wrong.append(f"{where}: not a line: {str(error)[:200]!r}")
            if before != [array.tobytes() for array in written]:
                wrong.append(f"{where}: something was written")
        except MemoryError:
            # Results have the shape of what is given, and are made first.
            if value != "a huge view":
                wrong.append(f"{where}: MemoryError")
        except BaseException as error:
            wrong.append(f"{where}: {type(error).__name__}: {error}")
        else:
            if (name, argument, value) not in ALLOWED:
                wrong.append(f"{where}: no error")
    assert not wrong, "\n".join(wrong)
