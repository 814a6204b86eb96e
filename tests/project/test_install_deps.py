"""scripts/install_deps.sh, on machines made of stand-ins for apt, dpkg, sudo and id."""

import pathlib
import shutil
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "install_deps.sh"
TOOLS = ["bash", "cat", "env", "head", "sed", "sort", "sh"]


class Machine:
    """A PATH with the script's tools, and whatever else a test puts there."""

    def __init__(self, folder):
        self.folder, self.log = folder / "bin", folder / "log"
        self.folder.mkdir()
        self.log.touch()
        for tool in TOOLS:
            (self.folder / tool).symlink_to(shutil.which(tool))
        for tool in ("c++", "ninja", "pkg-config", "python3"):
            self.has(tool, "exit 0")
        self.has("cmake", "echo cmake version 3.25.1")
        self.has("id", "echo 0")
        self.has("apt-get", f'echo "apt-get $*" >> "{self.log}"')
        self.has("dpkg-query", "printf installed")

    def has(self, tool, body):
        path = self.folder / tool
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def lacks(self, tool):
        (self.folder / tool).unlink()

    def run(self, level):
        environment = {"PATH": str(self.folder), "PYTHON": "python3"}
        return subprocess.run([SCRIPT, level], capture_output=True, text=True, env=environment)

    def calls(self):
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def packages_of(call):
    return {word for word in call.split() if not word.startswith("-")} - {"apt-get", "install"}


@pytest.mark.parametrize("status", ["installed", "installed installed ", "not-installed installed "])
@pytest.mark.parametrize("level", ["build", "test"])
def test_does_nothing_where_all_is_there(machine, level, status):
    """A package may be there for several architectures."""
    machine.has("dpkg-query", f"printf '{status}'")
    done = machine.run(level)
    assert (done.returncode, done.stdout, done.stderr, machine.calls()) == (0, "", "", [])


def test_installs_what_is_missing_and_says_so(machine):
    machine.has("dpkg-query", 'case "$*" in *libhwy-dev*) exit 1;; *) printf installed;; esac')
    machine.has("cmake", "echo cmake version 3.18.4")
    machine.lacks("ninja")
    done = machine.run("build")
    assert done.returncode == 0, done.stderr
    update, install = machine.calls()
    assert update.startswith("apt-get update")
    assert packages_of(install) == {"libhwy-dev", "cmake", "ninja-build"}
    assert "installing" in done.stdout and "libhwy-dev" in done.stdout


def test_a_package_that_was_removed_is_missing(machine):
    machine.has("dpkg-query", 'case "$*" in *libhwy-dev*) printf "not-installed ";; *) printf "installed ";; esac')
    assert machine.run("build").returncode == 0
    assert packages_of(machine.calls()[1]) == {"libhwy-dev"}


def test_a_python_without_pip_gets_one(machine):
    machine.has("python3", 'case "$*" in *ensurepip*) exit 1;; esac')
    assert machine.run("build").returncode == 0
    assert packages_of(machine.calls()[1]) == {"python3-venv"}


def test_tests_need_the_headers_of_python(machine):
    machine.has("python3", 'case "$*" in *Python.h*) exit 1;; esac')
    assert machine.run("build").returncode == 0
    assert machine.calls() == []
    assert machine.run("test").returncode == 0
    assert packages_of(machine.calls()[1]) == {"python3-dev"}


def test_a_user_goes_through_sudo(machine):
    machine.has("id", "echo 1000")
    machine.has("sudo", f'echo sudo >> "{machine.log}"; exec "$@"')
    machine.lacks("ninja")
    assert machine.run("build").returncode == 0
    assert [call.split()[0] for call in machine.calls()] == ["sudo", "apt-get", "sudo", "apt-get"]


def test_a_user_without_sudo_is_told_what_to_install(machine):
    machine.has("id", "echo 1000")
    machine.lacks("ninja")
    done = machine.run("build")
    assert done.returncode == 1
    assert "apt-get install ninja-build" in done.stderr
    assert machine.calls() == []


def test_other_systems_are_told_what_is_needed(machine):
    machine.lacks("apt-get")
    done = machine.run("test")
    assert done.returncode == 0
    assert "libhwy-dev" in done.stderr and "libgtest-dev" in done.stderr


def test_a_failing_apt_fails(machine):
    machine.has("apt-get", "exit 100")
    machine.lacks("ninja")
    assert machine.run("build").returncode == 100


def test_wrong_usage(machine):
    assert machine.run("everything").returncode == 2
