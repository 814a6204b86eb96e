"""Programs in a process of their own whose address space is limited."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

reads_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

# The beginning of such a program.
LIMIT = """
import re, resource

def limit(megabytes):
    '''So many more than are in use.'''
    used = int(re.search(r"VmSize:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), resource.RLIM_INFINITY))

def unlimited():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def run(program: str, folder: str | os.PathLike[str] = ".", **environment: str) -> str:
    """What it prints; `limit` and `unlimited` are there."""
    done = subprocess.run([sys.executable, "-c", LIMIT + program], capture_output=True, text=True, timeout=120,
                          cwd=folder, env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
