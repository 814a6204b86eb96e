"""What the tests in Python share."""

import os
import pathlib

import numpy as np
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def build_dir():
    """The CMake build whose programs the tests run: INSTNORM_BUILD_DIR, else build/test."""
    path = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", REPOSITORY / "build" / "test"))
    if not (path / "CMakeCache.txt").is_file():
        pytest.skip(f"there is no CMake build in {path}")
    return path.resolve()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)
