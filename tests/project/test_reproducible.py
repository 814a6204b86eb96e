"""The wheel is a function of its sources: scripts/reproducible_wheel.sh builds two, this looks at one for what differs."""

import importlib.util
import os
import pathlib
import stat
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "release")).resolve()
COMPARE = [sys.executable, ROOT / "scripts" / "compare_wheels.py"]
# scikit-build-core's, where there is no SOURCE_DATE_EPOCH; a zip keeps even seconds.
EPOCH = (2022, 11, 9, 12, 37, 20)


@pytest.fixture(scope="module")
def wheel(built_wheel):
    with zipfile.ZipFile(built_wheel) as archive:
        yield archive


def test_no_member_knows_where_it_was_built(wheel):
    nanobind = importlib.util.find_spec("nanobind")
    headers = nanobind.submodule_search_locations if nanobind else []
    folders = {os.fsencode(f"{folder}/") for folder in (ROOT, BUILD, *headers)}
    for name in wheel.namelist():
        content = wheel.read(name)
        assert not [folder for folder in folders if folder in content], name


def test_no_member_knows_when_it_was_built(wheel):
    (time,) = {member.date_time for member in wheel.infolist()}
    if "SOURCE_DATE_EPOCH" not in os.environ:
        assert time == EPOCH


def test_modes_are_not_those_of_the_umask(wheel):
    for member in wheel.infolist():
        mode = member.external_attr >> 16
        assert stat.S_ISREG(mode) and stat.S_IMODE(mode) in (0o644, 0o755), member.filename
    assert stat.S_IMODE(wheel.getinfo("instnorm/bin/instnorm").external_attr >> 16) == 0o755


def test_members_are_in_order(wheel):
    names = wheel.namelist()
    package = [name for name in names if ".dist-info/" not in name]
    information = [name for name in names if ".dist-info/" in name]
    record = information.pop()
    assert record.endswith(".dist-info/RECORD")
    assert names == [*sorted(package), *sorted(information), record]
    assert [line.split(",")[0] for line in wheel.read(record).decode().splitlines()] == names


def written(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content, time, mode in members:
            info = zipfile.ZipInfo(name, time)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def compared(tmp_path, first, second):
    paths = [written(tmp_path / f"{side}.whl", members) for side, members in (("a", first), ("b", second))]
    (tmp_path / "b").mkdir()
    return subprocess.run([*COMPARE, paths[0], paths[1].rename(tmp_path / "b" / "a.whl")],
                          capture_output=True, text=True, check=False)


A = ("a.py", b"a", EPOCH, 0o100644)
B = ("b.py", b"b", EPOCH, 0o100644)


def test_the_comparison_takes_the_same_for_the_same(tmp_path):
    done = compared(tmp_path, [A, B], [A, B])
    assert done.returncode == 0 and done.stdout.startswith("the same bytes: a.whl"), done.stdout


@pytest.mark.parametrize("second, said", [
    ([A], "b.py: in one of them alone"),
    ([A, ("b.py", b"c", EPOCH, 0o100644)], "b.py: sha256"),
    ([A, ("b.py", b"b", (2026, 1, 1, 0, 0, 0), 0o100644)], "b.py: time"),
    ([A, ("b.py", b"b", EPOCH, 0o100600)], "b.py: mode"),
    ([B, A], "order: "),
])
def test_the_comparison_says_what_differs(tmp_path, second, said):
    done = compared(tmp_path, [A, B], second)
    assert done.returncode == 1 and f"  {said}" in done.stdout, done.stdout
