"""The options that PyTorch's instance_norm does not have, as one value, and their checks."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from .._typing import Activation, DataFormat, NanPolicy
from ._modes import readable

NAN_POLICIES: tuple[str, ...] = get_args(NanPolicy)
DATA_FORMATS: tuple[str, ...] = get_args(DataFormat)
ACTIVATIONS: tuple[str, ...] = get_args(Activation)


class Extras(NamedTuple):
    lengths: Tensor | None = None
    mask: Tensor | None = None
    nan_policy: str = "propagate"
    data_format: str = "NCL"
    weight_offset: float = 0.0
    activation: str | None = None

    def given(self) -> dict[str, Any]:
        """Those that differ from their defaults, as keyword arguments."""
        return {
            name: value
            for name, value, default in zip(self._fields, self, NONE)
            if value is not default and (isinstance(value, Tensor) or value != default)
        }

    def selects(self) -> bool:
        """Do they say which values are there? Then a row may be short without an error."""
        return self.lengths is not None or self.mask is not None or self.nan_policy == "omit"


NONE = Extras()


_SHOWN = 80  # characters of what somebody gave


def one_of(op: str, name: str, value: object, possible: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in possible:
        names = [f'"{v}"' for v in possible]
        if isinstance(value, str):
            shown = value[:_SHOWN].encode("unicode_escape").decode()
            got = f'"{shown}"' + ("..." if len(value) > _SHOWN else "")
        else:
            got = repr(value) if isinstance(value, (int, type(None))) else type(value).__name__
        raise ValueError(f"[{op}] {name} must be {', '.join(names[:-1])} or {names[-1]}, got {got}")


def is_tensor(value: object) -> bool:
    """Or what stands for one, as a Proxy of torch.fx does."""
    return isinstance(value, Tensor) or hasattr(type(value), "__torch_function__")


def is_dense(t: Tensor) -> bool:
    return t.layout == torch.strided and not t.is_nested


def tensor(op: str, name: str, value: object, like: Tensor | None = None) -> None:
    """TypeError for what is no tensor, ValueError for one that cannot be read beside `like`."""
    if not is_tensor(value) or isinstance(value, (UninitializedParameter, UninitializedBuffer)):
        raise TypeError(f"[{op}] {name} must be a tensor, got {type(value).__name__}")
    if not isinstance(value, Tensor):
        return
    if not is_dense(value):
        kind = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        raise ValueError(f"[{op}] {name} must be a dense tensor, got a {kind.strip('_')} one")
    if like is not None and value.device != like.device:
        raise ValueError(f"[{op}] {name} must be on {like.device}, as its input is, got {value.device}")


def as_float(value: object) -> float | None:
    """What PyTorch takes for a float, as one."""
    if isinstance(value, Tensor):
        scalar = value.dim() == 0 and not value.requires_grad and value.device.type != "meta"
        return float(value) if scalar and not value.is_complex() else None
    if isinstance(value, (int, float)) or getattr(value, "shape", None) == ():
        try:
            return float(value)  # type: ignore[arg-type]
        except (OverflowError, TypeError, ValueError):
            return None
    return None


def number(op: str, name: str, value: object) -> None:
    if type(value) is float or torch.compiler.is_compiling() or as_float(value) is not None:
        return
    raise TypeError(f"[{op}] {name} must be a number, got {type(value).__name__}")


def _dtype(t: Tensor) -> str:
    return str(t.dtype).removeprefix("torch.")


def _shape(t: Tensor) -> tuple[int, ...]:
    return tuple(t.shape)


def check(op: str, input: Tensor, extras: Extras) -> None:
    """Checks what can be checked without looking at values. Raises ValueError or TypeError."""
    name = "y" if op == "denormalize" else "input"
    tensor(op, name, input)
    one_of(op, "nan_policy", extras.nan_policy, NAN_POLICIES)
    one_of(op, "data_format", extras.data_format, DATA_FORMATS)
    if extras.activation is not None:
        one_of(op, "activation", extras.activation, ACTIVATIONS)
    number(op, "weight_offset", extras.weight_offset)
    if extras.lengths is not None:
        tensor(op, "lengths", extras.lengths, input)
    if extras.mask is not None:
        tensor(op, "mask", extras.mask, input)
    if extras.lengths is not None and extras.mask is not None:
        raise ValueError(f"[{op}] lengths and mask are both given: give one of them")
    if input.dim() < 2:
        rows = "(L, C) or (N, L, C)" if extras.data_format == "NLC" else "(C, L) or (N, C, L)"
        raise ValueError(
            f"[{op}] {name} must have at least 2 dimensions, {rows}, got shape {_shape(input)}"
        )
    if not input.dtype.is_floating_point or input.dtype.itemsize == 1:
        raise ValueError(
            f"[{op}] {name} must be float16, bfloat16, float32 or float64, got {_dtype(input)}"
        )


class Layout(NamedTuple):
    """How an input is rows (N, C, L), and rows are an input again."""

    shape: torch.Size
    channels_last: bool

    def to_rows(self, x: Tensor) -> Tensor:
        if len(self.shape) == 2:
            x = x.unsqueeze(0)
        if self.channels_last:
            x = x.movedim(-1, 1)
        return x.flatten(2)

    def from_rows(self, rows: Tensor) -> Tensor:
        if self.channels_last:
            rows = rows.movedim(1, -1)
        return rows.reshape(self.shape).contiguous()


def layout(input: Tensor, extras: Extras) -> Layout:
    return Layout(input.shape, extras.data_format == "NLC")


def _in_range(op: str, lengths: Tensor, length: int) -> None:
    wrong = (lengths < 0) | (lengths > length)
    if bool(wrong.any()):
        n = int(wrong.nonzero()[0])
        raise ValueError(
            f"[{op}] lengths must be from 0 to L = {length}, got {int(lengths[n])} at n = {n}"
        )


def present(op: str, input: Tensor, extras: Extras) -> Tensor | None:
    """Which positions lengths or mask say are there: bool, (N, 1 or C, L); None means all."""
    batched = input.dim() > 2
    shape = tuple(input.shape) if batched else (1, *input.shape)
    last = extras.data_format == "NLC"
    n, c = shape[0], shape[-1 if last else 1]
    space = shape[1:-1] if last else shape[2:]
    if extras.lengths is not None:
        lengths = extras.lengths
        if lengths.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"[{op}] lengths must be int32 or int64, got {_dtype(lengths)}")
        if tuple(lengths.shape) != (n,):
            raise ValueError(
                f"[{op}] lengths must have shape (N,) = ({n},), got {tuple(lengths.shape)}"
            )
        if len(space) != 1:
            raise ValueError(
                f"[{op}] lengths needs input of 2 or 3 dimensions, got shape {_shape(input)}"
            )
        if readable(lengths):
            _in_range(op, lengths, space[0])
        return (torch.arange(space[0], device=input.device) < lengths[:, None])[:, None]
    if extras.mask is None:
        return None
    mask = extras.mask
    if mask.dtype != torch.bool:
        raise ValueError(f"[{op}] mask must be bool, got {_dtype(mask)}")
    none, one, every = (
        (n, *space),
        (n, *space, 1) if last else (n, 1, *space),
        (n, *space, c) if last else (n, c, *space),
    )
    got = tuple(mask.shape)
    if got == none:
        return mask.flatten(1)[:, None]
    if got == one or got == every or got == tuple(input.shape):
        if mask.dim() == 2:
            mask = mask.unsqueeze(0)
        return (mask.movedim(-1, 1) if last else mask).flatten(2)
    raise ValueError(f"[{op}] mask must have shape {none}, {one} or {every}, got {got}")
