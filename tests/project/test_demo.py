"""The demo, and how its tests are summed up."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "release")).resolve()
INSTNORM = BUILD / "tools" / "instnorm"

PNG = b"\x89PNG\r\n\x1a\n"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


def demo(instnorm, folder, **options):
    return run(sys.executable, ROOT / "scripts" / "demo.py", "--instnorm", instnorm, "--output",
               folder, "--seconds", "0.02", **options)


def test_the_demo_normalises_checks_and_draws(tmp_path):
    done = demo(INSTNORM, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^(\w+): ", done.stdout, re.MULTILINE)[:4] == ["Motions", "ECG", "Vowels", "CO2"]
    assert done.stdout.count("every value within 1e-6 * (1 + |y|)") == 4
    assert "270 utterances of 7 to 26 steps in one padded batch" in done.stdout
    assert "59 weeks are missing" in done.stdout
    assert (tmp_path / "instnorm-demo.png").read_bytes().startswith(PNG)


def test_the_demo_fails_if_a_result_is_wrong(tmp_path):
    # A command that normalises with another eps than it was asked to.
    wrong = tmp_path / "instnorm"
    wrong.write_text(f'#!/bin/sh\n[ "$1" = apply ] || exec "{INSTNORM}" "$@"\n'
                     f'exec "{INSTNORM}" apply "$2" "$3" --eps 0.1\n')
    wrong.chmod(0o755)
    # And without PyTorch, as after `make demo` alone.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    done = demo(wrong, tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "FAILED" in done.stdout and "PyTorch is not installed" in done.stdout


def summary(folder, *reports, also_failed=0):
    paths = []
    for i, report in enumerate(reports):
        paths.append(folder / f"report{i}.xml")
        if report is not None:
            paths[-1].write_text(report)
    done = run(sys.executable, ROOT / "scripts" / "test_summary.py", "--also-failed", also_failed, *paths)
    return done.stdout.strip(), done.returncode


CTEST = ('<testsuite><testcase name="a" status="run"/><testcase name="b" status="fail">'
         '<failure message="no"/></testcase></testsuite>')
PYTEST = ('<testsuites><testsuite><testcase name="c"/><testcase name="d"><skipped/></testcase>'
          "</testsuite></testsuites>")


def test_the_summary_adds_up(tmp_path):
    assert summary(tmp_path, PYTEST) == ("1 passed, 0 failed, 1 skipped", 0)
    assert summary(tmp_path, CTEST, PYTEST) == ("2 passed, 1 failed, 1 skipped", 1)


def test_the_summary_counts_what_did_not_run_as_failed(tmp_path):
    assert summary(tmp_path, PYTEST, None) == ("1 passed, 1 failed, 1 skipped", 1)
    assert summary(tmp_path, PYTEST, "<testsuite/>") == ("1 passed, 1 failed, 1 skipped", 1)
    assert summary(tmp_path, PYTEST, "<testsuite>") == ("1 passed, 1 failed, 1 skipped", 1)
    assert summary(tmp_path, PYTEST, also_failed=2) == ("1 passed, 2 failed, 1 skipped", 1)
