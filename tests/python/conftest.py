"""What the tests in Python share."""

import os
import pathlib

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def build_dir():
    """The CMake build whose programs the tests run: INSTNORM_BUILD_DIR, else build/release."""
    path = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", REPOSITORY / "build" / "release"))
    if not (path / "CMakeCache.txt").is_file():
        pytest.skip(f"there is no CMake build in {path}")
    return path.resolve()
