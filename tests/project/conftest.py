"""What the tests of the shipped files share."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def built_wheel():
    """That of `make test`."""
    build = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "release"))
    path = os.environ.get("INSTNORM_WHEEL") or next(iter((build / "wheel").glob("*.whl")), None)
    if path is None:
        pytest.skip("needs a wheel: INSTNORM_WHEEL")
    return pathlib.Path(path)
