"""What the tests of the Python package and of its PyTorch face share."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Without PyTorch the folder tests/torch would be taken for a package of that name.
_found = importlib.util.find_spec("torch") if sys.modules.get("torch", True) is not None else None
if _found is None or _found.origin is None:
    sys.modules["torch"] = None  # type: ignore[assignment]

Mypy = Callable[..., "subprocess.CompletedProcess[str]"]

# Parts of PyTorch that no type of instnorm's comes from, half of what mypy would read.
UNREAD = ",".join(f"{name}.*" for name in (
    "torch._dynamo", "torch._inductor", "torch.ao", "torch.distributed", "torch.onnx", "torch.package",
    "torch.profiler", "torch.testing", "torch.utils._sympy", "networkx", "sympy"))


@pytest.fixture(scope="session")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> Mypy:
    """Runs a tool of mypy's, strictly.

    To read NumPy and PyTorch takes it long: what a tool has learnt is kept beside the build for its next
    run. Each tool keeps its own, so that none waits for another.
    """
    pytest.importorskip("mypy", reason="needs the package mypy")
    folder = tmp_path_factory.mktemp("mypy")
    build = os.environ.get("INSTNORM_BUILD_DIR")
    caches = Path(build, "mypy_cache").resolve() if build else folder

    def run(tool: str, option: str, *arguments: str, path: Path | str = "") -> subprocess.CompletedProcess[str]:
        cache = caches / tool
        cache.mkdir(parents=True, exist_ok=True)
        config = folder / f"{tool}.ini"
        config.write_text(f"[mypy]\nstrict = true\ncache_dir = {cache}\n[mypy-{UNREAD}]\nfollow_imports = skip\n")
        command = [sys.executable, "-m", tool, option, str(config), *arguments]
        with (cache / "in_use").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False,
                                  env={**os.environ, "MYPYPATH": str(path)})

    return run
