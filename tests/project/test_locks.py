"""requirements/*.lock have what requirements/*.txt pin, for each Python, and a hash for every file that pip may take."""

import pathlib
import re

import pytest

packaging = pytest.importorskip("packaging.requirements", reason="needs the package packaging")
utils = pytest.importorskip("packaging.utils")

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "requirements"
PYTHONS = {"demo": ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"], "test": ["3.10", "3.11", "3.12", "3.13", "3.14"]}
CASES = [(name, python) for name, pythons in PYTHONS.items() for python in pythons]


def requirements(path):
    """Of each: what it says, and its hashes. A line goes on where it ends with a backslash."""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if line.startswith("-r "):
            yield from requirements(path.parent / line[3:])
        elif line and not line.startswith("#"):
            text, *hashes = re.split(r"\s+--hash=", line)
            yield packaging.Requirement(text), hashes


def versions(path, python):
    """What pip would install for this Python on Linux, by name."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux",
                   "platform_python_implementation": "CPython"}
    chosen = [(utils.canonicalize_name(wanted.name), str(wanted.specifier)) for wanted, _ in requirements(path)
              if wanted.marker is None or wanted.marker.evaluate(environment)]
    assert len(dict(chosen)) == len(chosen), "one version of each"
    return dict(chosen)


@pytest.mark.parametrize("name, python", CASES)
def test_the_lock_has_what_is_pinned(name, python):
    pinned = versions(FOLDER / f"{name}.txt", python)
    locked = versions(FOLDER / f"{name}.lock", python)
    assert {package: locked.get(package) for package in pinned} == pinned, "run scripts/lock.sh"


@pytest.mark.parametrize("name", PYTHONS)
def test_everything_in_the_lock_is_one_version_with_hashes(name):
    locked = list(requirements(FOLDER / f"{name}.lock"))
    assert len(locked) > len(list(requirements(FOLDER / f"{name}.txt")))
    for wanted, hashes in locked:
        assert re.fullmatch(r"==[\d.]+(post\d+)?", str(wanted.specifier)), wanted
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), wanted
