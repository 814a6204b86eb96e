"""Frameworks that may not be there: a test that uses one that is not is skipped, the others of its file run."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, NoReturn

import pytest


class _Missing:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> NoReturn:
        if attribute.startswith("__"):  # looked for by pytest
            raise AttributeError(attribute)
        pytest.skip(f"needs the package {self._name}")


def pytorchs_layer(*args: Any, bias: bool = True, **options: Any) -> Any:
    """torch.nn.InstanceNorm1d; the argument bias of that is younger than the oldest PyTorch that is supported."""
    torch = optional("torch")
    if "bias" in inspect.signature(torch.nn.InstanceNorm1d).parameters:
        return torch.nn.InstanceNorm1d(*args, bias=bias, **options)
    layer = torch.nn.InstanceNorm1d(*args, **options)
    if not bias:
        layer.register_parameter("bias", None)
    return layer


def optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return _Missing(name.partition(".")[0])
