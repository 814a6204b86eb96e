"""The instnorm command of the wheel: the program itself, whichever way it is called."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import instnorm

WAYS = {
    "python -m instnorm": [sys.executable, "-m", "instnorm"],
    "instnorm": [str(Path(sysconfig.get_path("scripts")) / "instnorm")],
}


@pytest.mark.parametrize("way", WAYS)
def test_is_the_library_of_the_module(way):
    done = subprocess.run([*WAYS[way], "info", "--json"], capture_output=True, check=True)
    assert json.loads(done.stdout)["version"] == instnorm.__version__


@pytest.mark.parametrize("way", WAYS)
def test_exit_codes_are_the_programs(way, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3, 4), np.float32))
    command = [*WAYS[way], "apply"]
    assert subprocess.run([*command, "x.npy", "y.npy"], cwd=tmp_path, check=False).returncode == 0
    y = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(y, np.zeros((2, 3, 4), np.float32))
    for arguments, code in ((["none.npy", "z.npy"], 1), (["x.npy", "z.npy", "--no-such"], 2)):
        done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == code
