"""What the tests of the Python package and of its PyTorch face share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

Mypy = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> Mypy:
    """Runs a tool of mypy's, strictly; what it has learnt of NumPy and PyTorch it keeps for the next."""
    pytest.importorskip("mypy", reason="needs the package mypy")
    folder = tmp_path_factory.mktemp("mypy")
    config = folder / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = true\ncache_dir = {folder}\n")

    def run(tool: str, option: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", tool, option, str(config), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)

    return run
