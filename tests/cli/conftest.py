"""The command under test: INSTNORM_COMMAND, or that of the build which INSTNORM_BUILD_DIR names, by default build/test."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "test")).resolve()


@pytest.fixture(scope="session")
def binary():
    path = pathlib.Path(os.environ.get("INSTNORM_COMMAND", BUILD / "tools" / "instnorm"))
    assert path.exists(), f"{path} is not there: build it, or set INSTNORM_BUILD_DIR"
    return str(path)


@pytest.fixture
def plain_memory(binary):
    """For tests of what happens without memory."""
    if b"__asan_init" in pathlib.Path(binary).read_bytes():
        pytest.skip("AddressSanitizer has an address space and an end of memory of its own")


@pytest.fixture(scope="session")
def run(binary):
    """run(*arguments, status=0) runs the command, checks its exit status, and what holds for every
    run: success is silent on standard error, a failure is one line there that begins with the
    command's name. `text` and `error` of the result are what it printed."""

    def run(*arguments, status=0, env=None, **options):
        done = subprocess.run([binary, *(a if isinstance(a, (str, bytes)) else os.fspath(a) for a in arguments)],
                              capture_output=True, timeout=120, env={**os.environ, **(env or {})}, **options)
        done.error = done.stderr.decode(errors="surrogateescape")
        done.text = done.stdout.decode(errors="surrogateescape")
        statuses = status if isinstance(status, tuple) else (status,)
        assert done.returncode in statuses, (done.returncode, done.error)
        if done.returncode == 0:
            assert done.error == ""
        else:
            assert done.error.startswith("instnorm: "), done.error
            assert done.error.endswith("\n") and done.error.count("\n") == 1, done.error
        return done

    return run


@pytest.fixture(scope="session")
def manual():
    return (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
