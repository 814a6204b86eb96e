"""The wheel in an empty environment: no compiler, no Highway but its own, no source tree."""

import os
import pathlib
import subprocess
import sys
import venv

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "release")).resolve()

SMOKE = """
import os, pathlib, sys
import numpy as np
import instnorm

home = pathlib.Path(instnorm.__file__).parent
assert home.is_relative_to(sys.prefix), home
x = np.array([[[1.0, 3.0, 1.0, 3.0]]], np.float32)
y, m = instnorm.instance_norm(x, eps=0.0, return_moments=True)
assert y.tolist() == [[[-1.0, 1.0, -1.0, 1.0]]] and (instnorm.denormalize(y, m, eps=0.0) == x).all()
assert "torch" not in sys.modules
if os.path.exists("/proc/self/maps"):
    loaded = {line.split()[-1] for line in open("/proc/self/maps") if "libhwy" in line}
    assert loaded and all(pathlib.Path(path).is_relative_to(sys.prefix) for path in loaded), loaded
try:
    import instnorm.torch
except ImportError as error:
    assert "torch" in str(error)
else:
    raise AssertionError("there is no PyTorch here")
np.save("x.npy", x)
"""


def run(command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The one that `make test` installed, or one made of the objects of the build that is tested."""
    if "INSTNORM_WHEEL" in os.environ:
        return pathlib.Path(os.environ["INSTNORM_WHEEL"])
    pytest.importorskip("scikit_build_core", reason="needs the package scikit-build-core")
    if not (BUILD / "CMakeCache.txt").is_file():
        pytest.skip(f"there is no CMake build in {BUILD}")
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", folder, ROOT,
         f"--config-settings=build-dir={BUILD}", "--config-settings=cmake.define.INSTNORM_BUILD_TESTS=ON"])
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_works_where_nothing_else_is(wheel, tmp_path, record_property):
    record_property("wheel_bytes", wheel.stat().st_size)
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    # Before the environment is emptied: NumPy may have to be fetched.
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    installed = subprocess.run([*pip, "install", "--no-compile", wheel], capture_output=True, text=True, check=False)
    if installed.returncode != 0 and "numpy" in installed.stderr.lower():
        pytest.skip("NumPy cannot be installed here")
    assert installed.returncode == 0, installed.stderr
    bare = {"cwd": tmp_path, "env": {"PATH": str(scripts), "HOME": str(tmp_path)}}
    assert "No broken requirements" in run([*pip, "check"])
    run([python, "-c", SMOKE], **bare)
    for way, out in (([scripts / "instnorm"], "a.npy"), ([python, "-m", "instnorm"], "b.npy")):
        run([*way, "apply", "x.npy", out], **bare)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    # Tests of the command, with the one that was installed: what a program started by Python could get wrong.
    command = {**os.environ, "INSTNORM_COMMAND": str(scripts / "instnorm"), "INSTNORM_BUILD_DIR": str(BUILD)}
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
                "-k", "closed_pipe or info or version or help", ROOT / "tests" / "cli" / "test_cli_usage.py"],
               env=command, cwd=ROOT)
    assert " passed" in done and "failed" not in done
