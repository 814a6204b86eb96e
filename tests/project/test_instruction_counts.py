"""Instructions for each element, counted by valgrind: a guard of the speed that does not depend on the machine.

The counts belong to a compiler; with another one the test is skipped. To record them anew, after a change
that is meant to change them:

    INSTNORM_BUILD_DIR=build/test .venv/bin/python tests/project/test_instruction_counts.py
"""

import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

RECORDED = Path(__file__).with_name("instruction_counts.json")
PROBE = Path(os.environ.get("INSTNORM_BUILD_DIR", "build/test"), "tests", "count_probe").resolve()
TOLERANCE = 0.05

# Short rows, rows that are overlapped, rows of several blocks; lengths that fit vectors and do not.
CALLS = ["forward float32 NCL 8 16 40", "forward float32 NCL 8 16 100", "forward float32 NCL 2 8 1000",
         "forward float32 NCL 1 2 10000", "forward bfloat16 NCL 4 16 100", "forward float16 NCL 2 8 1000",
         "forward float64 NCL 2 8 257", "forward float32 NLC 1 64 200", "forward float32 NLC 2 7 500",
         "backward float32 NCL 8 16 40", "backward float32 NCL 2 8 1000", "backward float32 NLC 1 64 200"]
TARGETS = ["AVX2", "SSE4"]  # valgrind knows no AVX-512


def compiler():
    return subprocess.run([PROBE], capture_output=True, text=True, check=True).stdout.strip()


def per_element(target, folder):
    """Of each of CALLS."""
    environment = {**os.environ, "INSTNORM_CPU_TARGET": target, "OMP_NUM_THREADS": "1"}
    words = [word for call in CALLS for word in call.split()]
    # Only what is within the calls: what a process does besides is not the same twice. Each leaves a file.
    subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/{target}",
                    "--toggle-collect=*counted_call*", "--dump-after=*probe*", PROBE, *words],
                   env=environment, capture_output=True, check=True)
    counts = {}
    for number, call in enumerate(CALLS, start=1):
        instructions = int(re.search(r"^totals: (\d+)", Path(folder, f"{target}.{number}").read_text(), re.MULTILINE)[1])
        counts[call] = instructions / math.prod(map(int, call.split()[3:]))
    return counts


@pytest.fixture(scope="module")
def recorded():
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind")
    if not PROBE.exists():
        pytest.skip(f"needs {PROBE}")
    counts = json.loads(RECORDED.read_text())
    if counts["compiler"] != compiler():
        pytest.skip(f"recorded with {counts['compiler']}, this is {compiler()}")
    return counts["per element"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_call_takes_no_more_instructions_than_recorded(target, recorded, tmp_path):
    wrong = []
    for call, count in per_element(target, tmp_path).items():
        wanted = recorded[target][call]
        assert count > 0.5, "nothing was counted"
        if not abs(count - wanted) <= TOLERANCE * wanted:
            wrong.append(f"{call}: {count:.3f} instructions an element, recorded {wanted:.3f}")
    assert not wrong, "\n".join([f"{target}; see the top of {Path(__file__).name}", *wrong])


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        found = {target: {call: round(count, 3) for call, count in per_element(target, scratch).items()}
                 for target in TARGETS}
    RECORDED.write_text(json.dumps({"compiler": compiler(), "per element": found}, indent=1) + "\n")
    print(RECORDED.read_text())
