"""Every argument of the PyTorch face, by every hostile value. What PyTorch has too ends as PyTorch's does: the same
exception, or none. What only the extras have is an error in one line that names the argument. The running statistics
are as they were. The calls are generated; what is allowed stands in ALLOWED."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import instnorm
import instnorm.torch as it
import torch_oracle as oracle
from instnorm.torch import functional as ours

N, C, L = 2, 3, 8
STYLE = 4
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
OTHERS = [torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2]


class Slots:
    """An object that is nothing."""


def no_tensors(good: torch.Tensor) -> dict[str, Any]:
    return {
        "a list": good.tolist(), "an array": good.float().numpy(), "a number": 1.5, "a str": "input", "bytes": b"12345678",
        "a dict": {}, "an object": Slots(), "a class": torch.Tensor, "a dtype": torch.float32, "a tuple": (good,),
        "a storage": good.untyped_storage(), "Moments of arrays": instnorm.Moments.empty(N, C),
    }


def shapes(good: torch.Tensor) -> Iterator[tuple[int, ...]]:
    shape = tuple(good.shape)
    yield from ((), shape[:-1], (*shape, 2), (1,) * 9, (0,) * len(shape), tuple(n + 1 for n in shape))
    for i in range(len(shape)):
        for n in (0, 1, shape[i] - 1, shape[i] + 1):
            yield (*shape[:i], n, *shape[i + 1:])


def tensors(good: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """What a tensor can be instead, made anew for each call: some of it warns, or is a prototype."""
    made: dict[str, Callable[[], Any]] = {
        "meta": lambda: good.to("meta"),
        "sparse": good.to_sparse,
        "nested": lambda: torch.nested.nested_tensor([good, good]),
        "jagged": lambda: torch.nested.nested_tensor([good, good], layout=torch.jagged),
        "an uninitialised parameter": torch.nn.UninitializedParameter,
        "of the one value": lambda: good.flatten()[:1].reshape((1,) * good.dim()).expand(good.shape),
        "reversed in memory": lambda: good.flip(0).clone().flip(0),
    }
    if good.dtype == torch.float32:
        made["quantized"] = lambda: torch.quantize_per_tensor(good, 0.1, 0, torch.quint8)
        made["mkldnn"] = good.to_mkldnn
        if good.dim() == 2:
            made["compressed"] = good.to_sparse_csr
    for dtype in (*INTEGERS, *FLOATS, *OTHERS):
        if dtype != good.dtype:
            made[str(dtype)] = lambda dtype=dtype: good.to(dtype)
    for shape in {*shapes(good)} - {tuple(good.shape)}:
        made[str(shape)] = lambda shape=shape: torch.ones(shape, dtype=good.dtype)
    return made


SCALARS: dict[str, dict[str, Any]] = {
    "bool": {"an int": 1, "None": None, "a str": "yes", "a tensor": torch.tensor(True), "a list": [True], "NumPy's": np.True_},
    "number": {"None": None, "a str": "1e-5", "a list": [1.0], "complex": 1j, "an object": Slots(), "a vector": torch.ones(2),
               "an array": np.ones(2), "a vector of one": torch.ones(1), "nan": float("nan"), "inf": float("inf"),
               "negative": -1.0, "huge": 10**400, "meta": torch.tensor(0.1, device="meta"), "with gradient": torch.tensor(0.1, requires_grad=True)},
    "str": {"None": None, "an int": 3, "unknown": "hostile", "empty": "", "with a zero": "NCL\0", "two lines": "NCL\nNLC", "long": "N" * 10_000,
            "not UTF-8": "\udcff", "bytes": b"NCL", "a list": ["NCL"], "an array": np.ones(2), "a tensor": torch.ones(2)},
}
NUMBERS = {"momentum", "eps", "weight_offset"}
KINDS = {"use_input_stats": "bool", "return_moments": "bool", **dict.fromkeys(NUMBERS, "number"),
         "nan_policy": "str", "data_format": "str", "activation": "str"}


def moments_values() -> dict[str, Callable[[], Any]]:
    good = it.Moments.empty(N, C)
    made: dict[str, Callable[[], Any]] = {f"{name} for it": lambda v=v: v for name, v in no_tensors(torch.ones(N, C)).items()}
    made |= {"a class": lambda: it.Moments, "of another shape": lambda: it.Moments.empty(N + 1, C), "of rank 3": lambda: it.Moments(*(t[None] for t in good))}
    for field in good._fields:
        for name, value in no_tensors(good.count).items():
            made[f"{field} {name}"] = lambda f=field, v=value: good._replace(**{f: v})
        for name, value in tensors(good.count).items():
            made[f"{field} {name}"] = lambda f=field, v=value: good._replace(**{f: v()})
    return made


def values(argument: str, good: Any) -> dict[str, Callable[[], Any]]:
    """Of what `argument` is in a call that is right."""
    if argument in ("moments", "m", "other"):
        return moments_values()
    if argument in KINDS:
        return {name: lambda v=v: v for name, v in SCALARS[KINDS[argument]].items()}
    made: dict[str, Callable[[], Any]] = {name: lambda v=v: v for name, v in no_tensors(good).items()}
    return {"None": lambda: None, **made, **tensors(good)}


def outcome(f: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            y = f(*args, **kwargs)
        except Exception as error:
            # Behind the first line PyTorch may show where in its C++ it was.
            text = str(error).split("\nException raised from")[0]
            return type(error), re.sub(r"\bj\d+\b", "j", text)  # a number for each jagged tensor
    return "returned", tuple(y.shape) if isinstance(y, torch.Tensor) and not y.is_nested else type(y)


def detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def signal(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.linspace(-1, 1, N * C * L, dtype=torch.float64).to(dtype).reshape(N, C, L)


# ---- what PyTorch has too

BASES = [dict(dtype=dtype, tracked=tracked, training=training, grad=grad)
         for dtype in (torch.float32, torch.bfloat16) for tracked in (False, True) for training in (False, True)
         for grad in (False, True) if tracked or training]
POSITIONS = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")


def good_call(dtype: torch.dtype, tracked: bool, training: bool, grad: bool) -> dict[str, Any]:
    x = signal(dtype).requires_grad_(grad)
    mean, var = (torch.full((C,), v, dtype=dtype) if tracked else None for v in (0.5, 2.0))
    weight, bias = torch.ones(C, dtype=dtype), torch.zeros(C, dtype=dtype)
    return dict(zip(POSITIONS, (x, mean, var, weight, bias, training, 0.1, 1e-5), strict=True))


def words(text: str) -> set[str]:
    return {*re.findall(r"\w+", text)}


def buffers_written(call: dict[str, Any], but: str) -> list[str]:
    return [name for name, value in (("running_mean", 0.5), ("running_var", 2.0))
            if name != but and call[name] is not None and not bool((call[name] == value).all())]


# Running statistics that older PyTorch refuses and the newest takes. Ours does as the newest.
OLDER_REFUSES = [] if oracle.NEWEST else [("running_mean", "of the one value"), ("running_var", "of the one value"),
                                   ("running_mean", "torch.float32")]


@pytest.mark.parametrize("base", BASES, ids=lambda b: " ".join(f"{v}" for v in b.values()))
def test_what_pytorch_refuses_is_refused_with_its_words(base: dict[str, Any]) -> None:
    wrong, tried, refused = [], 0, 0
    for argument in POSITIONS:
        good = good_call(**base)[argument]
        if good is None:
            good = torch.ones(C, dtype=base["dtype"])
        for name, make in values(argument, detached(good)).items():
            # Each has its own, for it may be written.
            mine, theirs = ({**good_call(**base), argument: make()} for _ in range(2))
            found, expected = outcome(ours.instance_norm, **mine), outcome(F.instance_norm, **theirs)
            where = f"{argument} = {name}"
            tried += 1
            # PyTorch has no parameters of two dimensions, ours are named with the shape that they should have.
            matrix = argument in ("weight", "bias") and name.startswith("(") and mine[argument].dim() == 2
            newer = (argument, name) in OLDER_REFUSES and found[0] == "returned" and expected[0] is RuntimeError
            if found != expected and not newer and not (matrix and found[0] is ValueError and argument in words(found[1])):
                wrong.append(f"{where}: {found}\n    PyTorch: {expected}")
            if found[0] == "returned":
                continue
            refused += 1
            # PyTorch itself updates one before it finds that it cannot the other.
            if argument != "running_var" and (written := buffers_written(mine, argument)):
                wrong.append(f"{where}: {written} written")
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n".join(wrong)
    assert tried > 240 and refused > 180, (tried, refused)


# ---- the extras

EXTRAS: dict[str, Callable[[], dict[str, Any]]] = {
    "lengths": lambda: dict(lengths=torch.tensor([8, 3]), activation="gelu", weight_offset=1.0, return_moments=True),
    "narrow lengths": lambda: dict(lengths=torch.tensor([8, 3], dtype=torch.int32)),
    "mask": lambda: dict(mask=torch.ones(N, L, dtype=torch.bool), nan_policy="omit"),
    "mask of channels": lambda: dict(mask=torch.ones(N, C, L, dtype=torch.bool)),
    "moments": lambda: dict(moments=ours.moments(signal()), weight_offset=0.5),
}
EXTRA_ARGUMENTS = ("lengths", "mask", "nan_policy", "data_format", "weight_offset", "activation", "moments", "return_moments")
LIKE = {"lengths": torch.tensor([8, 3]), "mask": torch.ones(N, L, dtype=torch.bool)}


# (argument, value): what is no error, and why.
ALLOWED = {
    **{(argument, "None"): "the default" for argument in ("weight", "bias", "lengths", "mask", "activation", "moments")},
    **{(argument, value): "any number, as in PyTorch: the results are what IEEE makes of it"
       for argument in NUMBERS for value in ("nan", "inf", "negative")},
    **{(argument, value): "what is only read may lie anyhow"
       for argument in ("input", "weight", "bias", "lengths", "mask", *(f"moments.{f}" for f in it.Moments._fields))
       for value in ("of the one value", "reversed in memory")},
    **{(argument, "reversed in memory"): "what is written may lie in any order" for argument in ("running_mean", "running_var")},
    **{("input", f"torch.{half}"): "half an input, and wide parameters" for half in ("float16", "bfloat16")},
    **{(argument, f"torch.{dtype}"): "either dtype" for argument, dtype in (("lengths", "int32"), ("lengths", "int64"))},
    ("mask", str((N, 1, L))): "one for all channels",
}
# PyTorch's own words, before it gives the call to anybody.
LAZY = "Attempted to use an uninitialized parameter"


def allowed(argument: str, value: str, call: dict[str, Any]) -> bool:
    if (argument, value) in ALLOWED:
        return True
    if argument.startswith("running") and value == "None":
        return call["running_mean"] is call["running_var"]  # neither
    # Lengths and moments say nothing of what is behind.
    return argument == "input" and call.get("mask") is None and call["input"].shape[:2] == (N, C) and call["input"].dim() >= 3


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("base", EXTRAS)
def test_what_the_extras_do_not_take_is_named(base: str, tracked: bool, grad: bool) -> None:
    wrong, tried = [], 0
    for argument in (*POSITIONS, *EXTRA_ARGUMENTS):
        good = {**good_call(torch.float32, tracked, True, grad), **EXTRAS[base]()}
        like = good.get(argument)
        if like is None:
            like = LIKE.get(argument, torch.ones(C))
        for name, make in values(argument, detached(like)).items():
            call = {**good_call(torch.float32, tracked, True, grad), **EXTRAS[base](), argument: make()}
            end = outcome(ours.instance_norm, **call)
            tried += 1
            where = f"{argument} = {name}"
            field = f"moments.{name.split(' ')[0]}" if argument == "moments" and name.split(" ")[0] in it.Moments._fields else ""
            if end[0] == "returned":
                if not allowed(argument, name, call) and not allowed(field, name.split(" ", 1)[-1], call):
                    wrong.append(f"{where}: no error")
                continue
            if written := buffers_written(call, argument):
                wrong.append(f"{where}: {written} written")
            if argument in POSITIONS and end == outcome(F.instance_norm, **{k: v for k, v in call.items() if k in POSITIONS}):
                continue
            if end[1].startswith(LAZY):
                continue
            # Where shapes disagree, either argument is named.
            either = {*POSITIONS, *EXTRA_ARGUMENTS} if argument == "input" and name.startswith("(") else {argument}
            if not (end[0] in (ValueError, TypeError) or argument == "input" and end[0] is RuntimeError) or not either & words(end[1]) or "\n" in end[1] or len(end[1]) > 400:
                wrong.append(f"{where}: {end}")
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n".join(wrong)
    assert tried > 400, tried


# ---- the other functions, the layers

LINE = 400


def fault(end: tuple[Any, ...], argument: str, errors: tuple[type[Exception], ...] = (ValueError, TypeError)) -> str:
    if end[0] == "returned":
        return "no error"
    good = end[0] in errors and argument in words(end[1]) and "\n" not in end[1] and len(end[1]) < LINE
    return "" if good or end[1].startswith(LAZY) else str(end)


def statistic_calls() -> dict[tuple[str, ...], Callable[[], tuple[Callable[..., Any], dict[str, Any]]]]:
    m = ours.moments(signal())
    calls: dict[tuple[str, ...], Callable[[], tuple[Callable[..., Any], dict[str, Any]]]] = {}
    for grad in (False, True):
        def x(grad: bool = grad) -> torch.Tensor:
            return signal().requires_grad_(grad)

        calls["moments", f"lengths, {grad}"] = lambda x=x: (ours.moments, dict(input=x(), lengths=LIKE["lengths"], nan_policy="propagate", data_format="NCL"))
        calls["moments", f"mask, {grad}"] = lambda x=x: (ours.moments, dict(input=x(), mask=LIKE["mask"], nan_policy="omit", data_format="NCL"))
        calls["denormalize", str(grad)] = lambda x=x: (ours.denormalize, dict(
            y=x(), m=m, weight=torch.ones(C), bias=torch.zeros(C), eps=1e-5, weight_offset=0.5, data_format="NCL"))
    calls["merge", ""] = lambda: (m.merge, dict(other=m))
    return calls


@pytest.mark.parametrize("which", statistic_calls(), ids=" ".join)
def test_what_the_other_functions_do_not_take_is_named(which: tuple[str, ...]) -> None:
    wrong, tried = [], 0
    good = statistic_calls()[which]()[1]
    for argument in good:
        for name, make in values(argument, detached(good[argument])).items():
            f, call = statistic_calls()[which]()
            call[argument] = make()
            end = outcome(f, **call)
            tried += 1
            field, _, rest = name.partition(" ")
            known = {*good} if argument in ("input", "y") and (name.startswith("(") or name == "meta") else {argument, "merge"}
            if end[0] == "returned":
                ok = ((argument, name) in ALLOWED or (f"moments.{field}", rest) in ALLOWED
                      or argument == "y" and (("input", name) in ALLOWED or name.startswith(f"({N}, {C}, "))
                      or argument == "other" and rest == "torch.float32"  # where there is no float64
                      or argument == "input" and name.startswith("(") or name.startswith("torch.") and argument == "input")
                if not ok:
                    wrong.append(f"{argument} = {name}: no error")
            elif all(fault(end, k) for k in known):
                wrong.append(f"{argument} = {name}: {end}")
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n".join(wrong)
    assert tried > 60, tried


def layer_pairs() -> dict[str, Callable[[], tuple[torch.nn.Module, torch.nn.Module]]]:
    options = [dict(affine=a, track_running_stats=t) for a in (False, True) for t in (False, True)]
    pairs: dict[str, Callable[[], tuple[torch.nn.Module, torch.nn.Module]]] = {}
    for o in options:
        for train in (False, True):
            pairs[f"InstanceNorm1d {o} {train}"] = lambda o=o, train=train: tuple(  # type: ignore[return-value]
                cls(C, **o).train(train) for cls in (it.InstanceNorm1d, torch.nn.InstanceNorm1d))
            pairs[f"converted GroupNorm {o} {train}"] = lambda o=o: (
                it.convert(torch.nn.GroupNorm(C, C, affine=o["affine"])), torch.nn.GroupNorm(C, C, affine=o["affine"]))
    return pairs


@pytest.mark.parametrize("which", layer_pairs())
def test_what_a_layer_of_pytorch_refuses_is_refused_with_its_words(which: str) -> None:
    wrong = []
    for name, make in values("input", signal()).items():
        mine, theirs = layer_pairs()[which]()
        before = [b.clone() for b in mine.buffers()]
        found, expected = outcome(mine, make()), outcome(theirs, make())
        # These are refused by the first function that they are given to, whichever it is.
        first = name in ("a class", "an uninitialised parameter")
        if (found[0] != expected[0]) if first else (found != expected):
            wrong.append(f"input = {name}: {found}\n    PyTorch: {expected}")
        if found[0] != "returned" and any(not torch.equal(a, b) for a, b in zip(before, mine.buffers(), strict=True)):
            wrong.append(f"input = {name}: buffers were written")
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong)


STYLED = ("x", "style")


@pytest.mark.parametrize("layer", ["RevIN", "RevIN last", "denorm", "AdaIN1d"])
def test_what_our_layers_do_not_take_is_named(layer: str) -> None:
    last = layer == "RevIN last"
    wrong = []
    arguments = STYLED if layer == "AdaIN1d" else ("x", "mode")
    for argument in arguments:
        good = dict(x=signal(), style=torch.ones(N, STYLE), mode="denorm" if layer == "denorm" else "norm")
        KINDS["mode"] = "str"
        for name, make in values(argument, good[argument]).items():
            if layer == "AdaIN1d":
                module: Any = it.AdaIN1d(STYLE, C)
            else:
                module = it.RevIN(L, subtract_last=last)
                module(signal(), "norm")
            call = {k: v for k, v in good.items() if k in arguments}
            call[argument] = make()
            end = outcome(module, **call)
            if end[0] == "returned":
                wider = layer == "AdaIN1d" and name == "torch.float64"  # gamma and beta follow x
                if not wider and (argument if argument == "style" else "input", name) not in ALLOWED and name not in ("of the one value", "reversed in memory") and not name.startswith("("):
                    wrong.append(f"{argument} = {name}: no error")
            # By the names of the functions that they call; what a Linear refuses is PyTorch's to say.
            elif all(fault(end, k) for k in (argument, "input", "y", "weight", "m")) and end[0] is not RuntimeError:
                wrong.append(f"{argument} = {name}: {end}")
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong)


CONSTRUCTED = {"num_features": 3, "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True, "device": "cpu", "dtype": torch.float32, "bias": True}
HOSTILE = {"None": None, "a str": "nonsense", "a list": [3], "negative": -1, "half": 2.5, "nan": float("nan"), "huge": 2**63, "an object": Slots(),
           "a tensor": torch.ones(2), "an array": np.ones(2), "integers": torch.int64, "complex": torch.complex64, "bytes": b"cpu", "meta": "meta", "a class": int}


@pytest.mark.parametrize("name", ["InstanceNorm1d", "LazyInstanceNorm1d"])
def test_constructors_take_what_pytorchs_take(name: str) -> None:
    def built(cls: Any, arguments: dict[str, Any]) -> tuple[Any, ...]:
        try:
            layer = cls(**arguments)
        except Exception as error:
            # Python says whose __init__ it was.
            return type(error), str(error).split("__init__")[-1].split("\nException raised from")[0]
        return "made", {k: str(v) for k, v in vars(layer).items() if k in CONSTRUCTED}

    wrong = []
    for argument in CONSTRUCTED:
        for value_name, value in HOSTILE.items():
            arguments = {**CONSTRUCTED, argument: value}
            if name == "LazyInstanceNorm1d":
                del arguments["num_features"]
            if not oracle.NEW:
                del arguments["bias"]
            found, expected = (built(getattr(module, name), arguments) for module in (it, torch.nn))
            if found != expected:
                wrong.append(f"{argument} = {value_name}: {found}\n    PyTorch: {expected}")
    for argument in ("data_format", "activation"):
        for value_name, value in SCALARS["str"].items():
            end = outcome(getattr(it, name), *([3] if name == "InstanceNorm1d" else []), **{argument: value})
            if (problem := fault(end, argument)) and (argument, value_name) not in ALLOWED:
                wrong.append(f"{argument} = {value_name}: {problem}")
    assert not wrong, "\n".join(wrong)


def test_convert_takes_modules_alone() -> None:
    for name, value in {**no_tensors(torch.ones(3)), "None": None, "a layer's class": torch.nn.InstanceNorm1d}.items():
        assert not fault(outcome(it.convert, value), "module"), name
