"""What contradicts itself among the extras is refused with one text in every face: C++, arrays, PyTorch by the
kernels and by the formulas, and the command. Python calls input what C++ and files call x.

The C++ column is tests/extras_errors_test.cc, which has the same calls and texts.
"""

from __future__ import annotations

import os
import pathlib
import subprocess

import numpy as np
import pytest

instnorm = pytest.importorskip("instnorm", reason="needs the package")
torch = pytest.importorskip("torch", reason="needs PyTorch")
functional = pytest.importorskip("instnorm.torch").functional

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "release")).resolve()
N, C, L = 2, 3, 8
X = np.full((N, C, L), 1.5, np.float32)
NAN = X.copy()
NAN[1, 2, 3] = np.nan
LENGTHS, MASK = np.array([8, 3]), np.ones((N, L), bool)


class Moments(dict):
    """The shape of moments."""


# Arguments, and what is said behind "[instance_norm] ". {x} is the input as the face calls it. The command has
# no dtype names, only NumPy's codes: what it says is compared up to them.
SHAPES = "(2, 8), (2, 1, 8) or (2, 3, 8)"
TABLE = {
    "lengths and mask": (dict(lengths=LENGTHS, mask=MASK), "lengths and mask are both given: give one of them"),
    "lengths of floats": (dict(lengths=LENGTHS.astype(np.float32)), "lengths must be int32 or int64, got float32"),
    "lengths of another size": (dict(lengths=LENGTHS[:1]), "lengths must have shape (N,) = (2,), got (1,)"),
    "lengths of rank 2": (dict(lengths=LENGTHS[:, None]), "lengths must have shape (N,) = (2,), got (2, 1)"),
    "a negative length": (dict(lengths=np.array([8, -1])), "lengths must be from 0 to L = 8, got -1 at n = 1"),
    "a length above L": (dict(lengths=np.array([9, 3], np.int32)), "lengths must be from 0 to L = 8, got 9 at n = 0"),
    "lengths for rank 4": (dict(x=X.reshape(2, 3, 2, 4), lengths=LENGTHS), "lengths needs {x} of 2 or 3 dimensions, got shape (2, 3, 2, 4)"),
    "a mask of floats": (dict(mask=MASK.astype(np.float32)), "mask must be bool, got float32"),
    "a mask for two channels": (dict(mask=np.ones((2, 2, 8), bool)), f"mask must have shape {SHAPES}, got (2, 2, 8)"),
    "a mask without N": (dict(mask=np.ones(8, bool)), f"mask must have shape {SHAPES}, got (8,)"),
    "a mask that would broadcast": (dict(mask=np.ones((1, 8), bool)), f"mask must have shape {SHAPES}, got (1, 8)"),
    "a mask in the other layout": (
        dict(mask=np.ones((2, 8, 3), bool), data_format="NLC"), "mask must have shape (2, 3), (2, 3, 1) or (2, 3, 8), got (2, 8, 3)"
    ),
    "an unknown nan_policy": (dict(nan_policy="ignore"), 'nan_policy must be "propagate", "omit" or "raise", got "ignore"'),
    "an unknown data_format": (dict(data_format="ncl"), 'data_format must be "NCL" or "NLC", got "ncl"'),
    "an unknown activation": (dict(activation="tanh"), 'activation must be "relu", "leaky_relu", "gelu", "gelu_tanh" or "silu", got "tanh"'),
    "a NaN to raise": (dict(x=NAN, nan_policy="raise"), '{x} has a NaN at n = 1, c = 2, and nan_policy is "raise"'),
    # The command has these by other words: its options exclude each other, its files have a form.
    "moments and running statistics": (
        dict(moments=Moments(n=N, c=C), use_input_stats=False), "moments with use_input_stats false: give one of them"
    ),
    "moments of another shape": (dict(moments=Moments(n=3, c=2)), "moments must have shape (N, C) = (2, 3), got (3, 2)"),
    "weight of another N": (
        dict(weight=np.ones((3, 3), np.float32)), "weight must have shape (C,) = (3,) or (N, C) = (2, 3), got (3, 3)"
    ),
}
ONLY_IN_CALLS = ("moments and running statistics", "moments of another shape", "weight of another N")
each = pytest.mark.parametrize("name", TABLE)


def arguments(name, array, moments):
    given = {"x": X, **TABLE[name][0]}
    if "use_input_stats" in given:
        given |= {"running_mean": np.zeros(C, np.float32), "running_var": np.ones(C, np.float32)}
    made = {k: array(v) if isinstance(v, np.ndarray) else moments.empty(**v) if isinstance(v, Moments) else v for k, v in given.items()}
    return made.pop("x"), made


def text_of(name, x):
    return TABLE[name][1].replace("{x}", x)


def refuses(call, name):
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == f"[instance_norm] {text_of(name, 'input')}"


@each
def test_arrays(name):
    x, options = arguments(name, np.copy, instnorm.Moments)
    out = np.full_like(x, 7)
    refuses(lambda: instnorm.instance_norm(x, **options, out=out), name)
    assert (out == 7).all()


@each
@pytest.mark.parametrize("way", ["kernels", "kernels with gradients", "formulas", "compiled"])
def test_torch(name, way):
    x, options = arguments(name, lambda a: torch.from_numpy(a.copy()), instnorm.torch.Moments)
    if way == "kernels with gradients":
        x.requires_grad_()

    def call(x):
        return functional.instance_norm(x, **options)

    if way == "formulas":
        with torch.autograd.forward_ad.dual_level():
            refuses(lambda: call(x), name)
    elif way == "compiled":
        torch.compiler.reset()
        with pytest.raises(Exception) as raised:
            torch.compile(call, backend="eager")(x)
        assert text_of(name, "input") in str(raised.value)
    else:
        refuses(lambda: call(x), name)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in ONLY_IN_CALLS])
def test_command(name, tmp_path):
    given, text = {"x": X, **TABLE[name][0]}, text_of(name, "x")
    np.save(tmp_path / "x.npy", given.pop("x"))
    words = ["apply", "x.npy", "y.npy"]
    for option, value in given.items():
        words.append("--" + option.replace("_", "-"))
        if isinstance(value, np.ndarray):
            np.save(tmp_path / f"{option}.npy", value)
            value = f"{option}.npy"
        words.append(value)
    done = subprocess.run([BUILD / "tools" / "instnorm", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode in (1, 2) and not (tmp_path / "y.npy").exists()
    assert text.removesuffix("float32") in done.stderr


@each
def test_cpp(name):
    lines = (ROOT / "tests" / "extras_errors_test.cc").read_text(encoding="utf-8")
    joined = lines.replace('"\n       "', "").replace('\\"', '"')
    assert text_of(name, "x") in joined
