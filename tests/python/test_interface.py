"""Stubs, docstrings and examples say what the module does."""

from __future__ import annotations

import ast
import doctest
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import instnorm
import instnorm._C
import instnorm._config
import instnorm._module
import instnorm._moments

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = [
    instnorm.instance_norm,
    instnorm.instance_norm_backward,
    instnorm.moments,
    instnorm.denormalize,
]


def succeeds(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


def _nanobind_functions() -> dict[str, str]:
    """Name and signature of those that nanobind has made, which inspect cannot read."""
    return {
        name: function.__nb_signature__[0][0]
        for name, function in vars(instnorm._C).items()
        if hasattr(function, "__nb_signature__")
    }


def test_stubs_agree_with_the_module(mypy, tmp_path):
    allowed = tmp_path / "allowed"
    # nanobind's functions are the next test's.
    names = _nanobind_functions()
    allowed.write_text("".join(f"instnorm._C.{name}\n" for name in names))
    succeeds(mypy("mypy.stubtest", "--mypy-config-file", "instnorm._C", "--allowlist", str(allowed)))


def test_stubs_agree_with_nanobinds_functions():
    tree = ast.parse(Path(instnorm._C.__file__).with_name("_C.pyi").read_text())
    stubs = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    functions = _nanobind_functions()
    assert {"get_num_threads", "set_num_threads"} <= functions.keys() <= stubs.keys()
    for name, signature in functions.items():
        (function,) = ast.parse(f"{signature}: ...").body
        assert isinstance(function, ast.FunctionDef)
        stub = stubs[name]
        assert [a.arg for a in function.args.args] == [a.arg for a in stub.args.args], name
        for mine, told in zip(
            [*(a.annotation for a in function.args.args), function.returns],
            [*(a.annotation for a in stub.args.args), stub.returns],
        ):
            # `object` is what nanobind says of what it hands over unread.
            assert mine is not None and told is not None
            assert ast.unparse(mine) in ("object", ast.unparse(told)), name


def _documented():
    for module in (instnorm, instnorm._config, instnorm._module, instnorm._moments):
        yield from doctest.DocTestFinder().find(module, extraglobs={"instnorm": instnorm})
    finder = doctest.DocTestFinder()
    for function in (*FUNCTIONS, instnorm.get_num_threads, instnorm.set_num_threads):
        # An extension's functions have no globals to be found by.
        yield from finder.find(function, function.__name__, False, globs={"instnorm": instnorm})


@pytest.mark.parametrize("test", [t for t in _documented() if t.examples], ids=lambda t: t.name)
def test_docstrings(test):
    result = doctest.DocTestRunner().run(test)
    assert result.attempted > 0 and result.failed == 0


def test_every_public_name_is_documented_with_an_example():
    for name in instnorm.__all__:
        if name != "__version__":
            doc = inspect.getdoc(getattr(instnorm, name))
            assert doc and ">>>" in doc, name


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_functions_tell_their_signature_and_pickle(function):
    parameters = inspect.signature(function).parameters
    x = np.random.default_rng(0).standard_normal((2, 3, 9))
    m = instnorm.moments(x)
    required = [n for n, p in parameters.items() if p.default is p.empty]
    given = {name: m if name in ("m", "moments") else x for name in required}
    # With all defaults spelled out it is the same call.
    spelled = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    once, again = function(**given), function(**given, **spelled)
    for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (once, again))):
        assert (a is None and b is None) or np.all(a == b)
    assert function.__module__ == "instnorm"
    assert pickle.loads(pickle.dumps(function)) is function


def test_version_is_that_of_the_header():
    header = (ROOT / "include/instnorm/version.h").read_text()
    assert f'INSTNORM_VERSION "{instnorm.__version__}"' in header
