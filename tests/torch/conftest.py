"""What all tests of the PyTorch face share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

# Inductor would precompile PyTorch's headers, which takes longer than the few kernels here.
os.environ.setdefault("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")


class WithoutPyTorch(pytest.Module):
    def collect(self) -> list[pytest.Item]:
        pytest.skip("needs PyTorch", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return WithoutPyTorch.from_parent(parent, path=module_path) if torch is None else None


@pytest.fixture(autouse=True)
def same_random_numbers() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(20240229)
        yield


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Inputs are small: beside other work, threads would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
