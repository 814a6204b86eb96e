"""What all tests of the PyTorch face share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Inductor would precompile PyTorch's headers, which takes longer than the few kernels here.
os.environ.setdefault("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")
torch = pytest.importorskip("torch")


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
