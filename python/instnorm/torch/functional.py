"""instance_norm, moments and denormalize for PyTorch, and the choice of who computes.

No single way of extending PyTorch carries everything, so each call is looked at:

    ordinary tensors on the CPU             the kernels; with gradients, by an autograd.Function
    torch.compile                           the kernels, as operators
    torch.func transforms, forward mode     the formulas in PyTorch's own operations
    whatever else (other devices, meta      PyTorch's own operator, which also raises its own
    and fake tensors, tracers, exporters,   errors for what it does not accept; extras, of which
    subclasses, empty inputs, ...)          it has none, by the formulas
"""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import (
    _get_overloaded_args,
    handle_torch_function,
    has_torch_function_variadic,
)

from . import _accepts, _compiled, _formulas, _kernels
from ._autograd import InstanceNorm, apply_plain
from ._extras import NONE, Activation, DataFormat, Extras, NanPolicy, check
from ._modes import _dispatch_modes, _tracing, _transforms_active, differentiating_forward, special
from ._moments import Moments

__all__ = ["Moments", "denormalize", "instance_norm", "moments"]


@overload
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
    weight_offset: float = 0.0,
    activation: Activation | None = None,
    moments: Moments | None = None,
    return_moments: Literal[False] = False,
) -> Tensor: ...
@overload
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
    weight_offset: float = 0.0,
    activation: Activation | None = None,
    moments: Moments | None = None,
    return_moments: Literal[True],
) -> tuple[Tensor, Moments]: ...
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    nan_policy: str = "propagate",
    data_format: str = "NCL",
    weight_offset: float = 0.0,
    activation: str | None = None,
    moments: Moments | None = None,
    return_moments: bool = False,
) -> Tensor | tuple[Tensor, Moments]:
    """Normalise each row of `input` by its own mean and variance.

        y = activation((x - mean) / sqrt(var + eps) * (weight + weight_offset) + bias)

    ``torch.nn.functional.instance_norm``, and the extras. A row is one instance n and one channel c;
    mean and the biased variance are taken over its length.

    Parameters
    ----------
    input : Tensor (N, C, L) or (N, C, D1, D2, ...)
        float16, bfloat16, float32 or float64, with any strides. Rank 2 does what PyTorch's does;
        with extras it is (C, L).
    running_mean, running_var : Tensor (C,), optional
        With use_input_stats they are updated in place, without they are what normalises.
    weight, bias : Tensor (C,) or (N, C), optional
        (N, C): one for each instance.
    use_input_stats, momentum, eps
        As PyTorch has them.
    lengths : Tensor (N,), int32 or int64, optional
        Only the first lengths[n] values of the rows of n are there: the others have no effect, and y
        and the gradient are 0 there. Rows of fewer than 2 values give the bias.
    mask : bool Tensor, optional
        True where a value is there: (N, L), (N, 1, L) or (N, C, L); with NLC (N, L), (N, L, 1) or
        (N, L, C). Not together with lengths.
    nan_policy : {"propagate", "omit", "raise"}
        "omit": a NaN is left out of the statistics, stays NaN in y and gets gradient 0. "raise": it
        is a ValueError.
    data_format : {"NCL", "NLC"}
        "NLC": the input is (N, L, C); for rank 2 (L, C).
    weight_offset : float
        Added to the weight, if there is one.
    activation : {None, "relu", "leaky_relu", "gelu", "gelu_tanh", "silu"}
        Applied in the same pass.
    moments : Moments, optional
        Normalise by these instead of the input's own.
    return_moments : bool
        Also return the Moments that were used.

    Returns
    -------
    Tensor
        Contiguous, of the input's shape and dtype.
    Moments
        Only with return_moments.

    Raises
    ------
    RuntimeError, ValueError, TypeError, IndexError, NotImplementedError
        What PyTorch raises, with its texts; ValueError or TypeError for the extras.

    Examples
    --------
    >>> x = torch.tensor([[[1.0, 3.0, 1.0, 3.0]]])
    >>> instance_norm(x, eps=0.0)
    tensor([[[-1.,  1., -1.,  1.]]])
    >>> instance_norm(x, eps=0.0, lengths=torch.tensor([2]))
    tensor([[[-1.,  1.,  0.,  0.]]])
    """
    if (
        lengths is None
        and mask is None
        and moments is None
        and not return_moments
        and activation is None
        and nan_policy == "propagate"
        and data_format == "NCL"
        and weight_offset == 0.0
    ):
        return normalize(
            input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
        )
    extras = Extras(lengths, mask, nan_policy, data_format, weight_offset, activation)
    return _with_extras(
        input,
        running_mean,
        running_var,
        weight,
        bias,
        use_input_stats,
        momentum,
        eps,
        extras,
        moments,
        return_moments,
    )


def normalize(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """instance_norm without extras. What is common goes first, and unchecked: the kernels check."""
    arguments = (input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    y: Tensor
    if torch.compiler.is_compiling():
        if _accepts.per_instance(weight, bias):
            y = _with_extras(*arguments, NONE, None, False)
            return y
        return _compiled.normalize(*arguments)
    if has_torch_function_variadic(input, running_mean, running_var, weight, bias):
        return _overridden(*arguments)
    # in_special_mode(), without the call.
    if _transforms_active() or _dispatch_modes() or _tracing() or forward_ad._current_level >= 0:
        return _in_special_mode(*arguments)
    try:
        if (
            (weight is None and bias is None)
            or input.dtype not in _accepts.HALVES
            or _accepts.halves(input.dtype, weight, bias, running_mean is not None)
        ) and (running_mean is None or _accepts.buffer(running_mean, use_input_stats)):
            if not torch.is_grad_enabled() or not (
                input.requires_grad
                or (weight is not None and weight.requires_grad)
                or (bias is not None and bias.requires_grad)
            ):
                y = _kernels.normalize_tensor(*arguments)
                if running_mean is not None and use_input_stats:
                    _kernels.changed(running_mean, running_var)
                return y
            if (weight is None or not weight.is_inference()) and (bias is None or not bias.is_inference()):
                return apply_plain(*arguments)
    except (TypeError, ValueError, AttributeError):
        pass  # not what the kernels take, or no tensors
    except RuntimeError:
        if input.layout == torch.strided:
            raise
    return _uncommon(*arguments)


def _overridden(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Any:
    """For tensors with a __torch_function__, or under a mode with one."""
    tensors = (input, running_mean, running_var, weight, bias)
    ordinary = Tensor.__torch_function__.__func__  # type: ignore[attr-defined]
    # Handlers of their own know PyTorch's function by its name; to others ours is as good.
    known = all(
        getattr(type(t).__torch_function__, "__func__", None) is ordinary
        for t in _get_overloaded_args(tensors)
    )
    return handle_torch_function(
        instance_norm if known else F.instance_norm,
        tensors,
        input,
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
        use_input_stats=use_input_stats,
        momentum=momentum,
        eps=eps,
    )


def _in_special_mode(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    tensors = (input, running_mean, running_var, weight, bias)
    if _accepts.per_instance(weight, bias):
        y: Tensor = _with_extras(*tensors, use_input_stats, momentum, eps, NONE, None, False)
        return y
    if (
        differentiating_forward()
        and input.device.type == "cpu"
        and _accepts.call(*tensors, use_input_stats)
        and _accepts.numbers(use_input_stats, momentum, eps)
    ):
        return _by_formulas(*tensors, use_input_stats, momentum, eps)[0]
    return F.instance_norm(*tensors, use_input_stats, momentum, eps)


def _by_formulas(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    extras: Extras = NONE,
    moments: Moments | None = None,
) -> tuple[Tensor, Moments]:
    if running_mean is None or running_var is None:
        return _formulas.normalize(input, weight, bias, eps, extras, moments)
    if not use_input_stats:
        moments = _formulas.running_moments(input, extras, running_mean, running_var)
        return _formulas.normalize(input, weight, bias, eps, extras, moments, constant=True)
    y, m = _formulas.normalize(input, weight, bias, eps, extras, moments)
    try:
        _formulas.update_running(running_mean, running_var, m, momentum)
    except RuntimeError:  # under vmap: unbatched running statistics
        F.instance_norm(input, running_mean, running_var, None, None, True, momentum, eps)
        raise
    return y, m


def _number(value: object) -> float | None:
    """What PyTorch takes for a float, as one."""
    if isinstance(value, Tensor):
        return float(value) if value.dim() == 0 and not value.requires_grad else None
    if isinstance(value, (int, float)) or getattr(value, "shape", None) == ():
        try:
            return float(value)  # type: ignore[arg-type]
        except (OverflowError, TypeError, ValueError):
            return None
    return None


def _uncommon(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    tensors = (input, running_mean, running_var, weight, bias)
    if type(eps) is not float or type(momentum) is not float:
        as_eps, as_momentum = _number(eps), _number(momentum)
        if as_eps is not None and as_momentum is not None:
            return normalize(*tensors, use_input_stats, as_momentum, as_eps)
    elif _accepts.per_instance(weight, bias):
        y: Tensor = _with_extras(*tensors, use_input_stats, momentum, eps, NONE, None, False)
        return y
    return F.instance_norm(*tensors, use_input_stats, momentum, eps)


def _with_extras(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    extras: Extras,
    moments: Moments | None,
    return_moments: bool,
) -> Any:
    tensors = (input, running_mean, running_var, weight, bias)
    others = (extras.lengths, extras.mask, *(moments or ()))
    compiling = torch.compiler.is_compiling()
    if not compiling and has_torch_function_variadic(*tensors, *others):
        return handle_torch_function(
            instance_norm,
            (*tensors, *others),
            *tensors,
            use_input_stats,
            momentum,
            eps,
            **extras._asdict(),
            moments=moments,
            return_moments=return_moments,
        )
    check("instance_norm", input, extras)
    if moments is not None and not use_input_stats:
        raise ValueError("[instance_norm] moments with use_input_stats false: give one of them")
    arguments = (*tensors, use_input_stats, momentum, eps, extras, moments)
    differentiable_moments = moments is not None and any(m.requires_grad for m in moments)
    if _accepts.plain(*tensors, *others) and not differentiable_moments:
        if compiling:
            if _compiled.possible():
                _check_as_pytorch(*arguments)
                y, m = _compiled.normalize_and_moments(*arguments)
                return (y, m) if return_moments else y
        elif not special():
            try:
                return _with_kernels(*arguments, return_moments)
            except (TypeError, ValueError):
                _check_as_pytorch(*arguments)
                raise
    _check_as_pytorch(*arguments)
    y, m = _by_formulas(*arguments)
    return (y, m) if return_moments else y


def _with_kernels(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    extras: Extras,
    moments: Moments | None,
    return_moments: bool,
) -> Any:
    given = None if moments is None else moments.detach()
    running = (running_mean, running_var)
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (input, weight, bias)
    ):
        result = InstanceNorm.apply(  # type: ignore[no-untyped-call]
            input,
            weight,
            bias,
            *running,
            use_input_stats,
            momentum,
            eps,
            extras,
            given,
            return_moments,
        )
        return (result[0], Moments(*result[1:])) if return_moments else result
    arguments = (input, *running, weight, bias, use_input_stats, momentum, eps, extras, given)
    if not return_moments:
        return _kernels.normalize(*arguments)
    y, m = _kernels.normalize_and_moments(*arguments)
    return y, _kernels.tensors(m)


def _check_as_pytorch(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    extras: Extras,
    moments: Moments | None,
) -> None:
    """Raises what PyTorch would raise without the extras, and ValueError for what only they allow."""
    rows = _formulas.layout(input, extras).to_rows(input)
    shape = tuple(rows.shape[:2])
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.dim() == 2 and tuple(p.shape) != shape:
            raise ValueError(
                f"[instance_norm] {name} must have shape (C,) = ({shape[1]},) or (N, C) = {shape}, "
                f"got {tuple(p.shape)}"
            )
    if moments is not None and tuple(moments.count.shape) != shape:
        raise ValueError(
            f"[instance_norm] moments must have shape (N, C) = {shape}, got "
            f"{tuple(moments.count.shape)}"
        )
    if rows.numel() == 0:
        return
    # Of (N, C), PyTorch sees one instance: the dtype is what it has to say on.
    weight, bias = (p[0] if p is not None and p.dim() == 2 else p for p in (weight, bias))
    short = extras.selects() or moments is not None
    if _accepts.numbers(use_input_stats, momentum, eps) and _accepts.call(
        rows, running_mean, running_var, weight, bias, use_input_stats and not short
    ):
        return
    with torch.no_grad():
        running = [r if r is None or r.requires_grad else r.clone() for r in (running_mean, running_var)]
        if short:
            torch.instance_norm(
                rows, weight, bias, *running, use_input_stats, momentum, eps, False
            )
        else:
            F.instance_norm(rows, *running, weight, bias, use_input_stats, momentum, eps)


def moments(
    input: Tensor,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    nan_policy: NanPolicy = "propagate",
    data_format: DataFormat = "NCL",
) -> Moments:
    """Count, mean and sum of squared deviations of each row of `input`, as float64 (N, C).

    Parameters
    ----------
    input : Tensor (N, C, L), (C, L) or (N, C, D1, D2, ...)
        float16, bfloat16, float32 or float64.
    lengths, mask, nan_policy, data_format
        As `instance_norm` has them.

    Returns
    -------
    Moments
        Of shape (1, C) for rank 2; differentiable in the input.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.

    Examples
    --------
    >>> a, b = moments(torch.tensor([[[1.0, 2.0]]])), moments(torch.tensor([[[3.0]]]))
    >>> a.merge(b).mean
    tensor([[2.]], dtype=torch.float64)
    """
    extras = Extras(lengths, mask, nan_policy, data_format)
    tensors = (input, lengths, mask)
    if not torch.compiler.is_compiling():
        if has_torch_function_variadic(*tensors):
            result: Moments = handle_torch_function(
                moments, tensors, input, **{k: v for k, v in extras._asdict().items() if k in _MOMENTS}
            )
            return result
        check("moments", input, extras)
        graph = torch.is_grad_enabled() and input.requires_grad
        if _accepts.plain(*tensors) and not special() and not graph:
            return _kernels.moments(input, extras)
    return _formulas.moments(input, extras)


_MOMENTS = ("lengths", "mask", "nan_policy", "data_format")


def denormalize(
    y: Tensor,
    m: Moments,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    weight_offset: float = 0.0,
    data_format: DataFormat = "NCL",
) -> Tensor:
    """The way back: (y - bias) / (weight + weight_offset) * sqrt(var + eps) + mean.

    Parameters
    ----------
    y : Tensor (N, C, L), (C, L) or (N, C, D1, D2, ...)
        What `instance_norm` gave, or something in its units.
    m : Moments
        What the input was normalised by.
    weight, bias, eps, weight_offset, data_format
        As they were given to `instance_norm`. Where the weight is 0 the result is what IEEE
        arithmetic says of a division by 0.

    Returns
    -------
    Tensor
        Of y's shape and dtype; differentiable in all arguments.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.

    Examples
    --------
    >>> x = torch.tensor([[[1.0, 3.0, 1.0, 3.0]]])
    >>> y, m = instance_norm(x, return_moments=True)
    >>> bool((denormalize(y, m) - x).abs().max() < 1e-6)
    True
    """
    extras = Extras(data_format=data_format, weight_offset=weight_offset)
    tensors = (y, *m, weight, bias)
    if not torch.compiler.is_compiling():
        if has_torch_function_variadic(*tensors):
            result: Tensor = handle_torch_function(
                denormalize,
                tensors,
                y,
                m,
                weight,
                bias,
                eps,
                weight_offset=weight_offset,
                data_format=data_format,
            )
            return result
        graph = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
        if _accepts.plain(*tensors) and not special() and not graph:
            return _kernels.denormalize(y, m, weight, bias, eps, extras)
    check("denormalize", y, extras)
    _check_as_arrays(y, m, weight, bias, extras)
    return _formulas.denormalize(y, m, weight, bias, eps, extras)


def _check_as_arrays(
    y: Tensor, m: Moments, weight: Tensor | None, bias: Tensor | None, extras: Extras
) -> None:
    """For denormalize by the formulas, what the kernels check."""
    n, c = _formulas.layout(y, extras).to_rows(y).shape[:2]
    if tuple(m.count.shape) != (n, c):
        raise ValueError(
            f"[denormalize] moments must have shape (N, C) = {(n, c)}, got {tuple(m.count.shape)}"
        )
    for name, p in (("weight", weight), ("bias", bias)):
        if p is None:
            continue
        if tuple(p.shape) not in ((c,), (n, c)):
            raise ValueError(
                f"[denormalize] {name} must have shape (C,) = ({c},) or (N, C) = {(n, c)}, got "
                f"{tuple(p.shape)}"
            )
        if not _accepts.parameters(y.dtype, p, None, False):
            raise ValueError(f"[denormalize] {name} does not fit {y.dtype}, got {p.dtype}")
