"""What the documentation says runs, and what the types say holds."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import instnorm
import instnorm.torch as it
import torch_oracle as oracle

ROOT = Path(__file__).resolve().parents[2]
MODULES = ["", "._adain", "._convert", "._modules", "._moments", "._revin", ".functional"]


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    module = importlib.import_module(f"instnorm.torch{name}")
    names = {"torch": torch, "instnorm": instnorm}
    if name == "._modules" and not oracle.NEW:
        pytest.skip("this PyTorch's layer does not print its bias")
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted > 0 and result.failed == 0


PUBLIC = [*(getattr(it, n) for n in it.__all__ if n != "functional"), *(getattr(it.functional, n) for n in it.functional.__all__)]


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda t: t.__name__)
def test_everything_public_is_described(thing):
    text = inspect.getdoc(thing)
    assert text and ">>>" in text and "Parameters" in text


def test_signatures():
    """Those of PyTorch, with more behind."""
    for ours, theirs in (
        (it.functional.instance_norm, torch.nn.functional.instance_norm),
        (it.InstanceNorm1d.__init__, torch.nn.InstanceNorm1d.__init__),
        (it.LazyInstanceNorm1d.__init__, torch.nn.LazyInstanceNorm1d.__init__),
    ):
        mine, right = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
        assert [*mine][: len(right)] == [*right]
        for name, parameter in right.items():
            assert (mine[name].default, mine[name].kind) == (parameter.default, parameter.kind)


TYPED = '''
import torch
import instnorm.torch
from instnorm.torch.functional import denormalize, instance_norm, moments

x = torch.randn(2, 3, 8)
y: torch.Tensor = instance_norm(x, lengths=torch.tensor([8, 3]), activation="gelu")
z, m = instance_norm(x, return_moments=True)
back: torch.Tensor = denormalize(z, m.merge(moments(x)).detach())
v: torch.Tensor = m.var(1)
model = instnorm.torch.convert(torch.nn.Sequential(torch.nn.InstanceNorm1d(3)))
first: torch.nn.Module = model[0]
layer = instnorm.torch.InstanceNorm1d(3, affine=True, data_format="NLC")
revin = instnorm.torch.RevIN(3, subtract_last=True)
adain = instnorm.torch.AdaIN1d(4, 3)
'''
WRONG = '''
import torch
from instnorm.torch.functional import instance_norm

instance_norm(torch.randn(2, 3, 8), activation="tanh")
y: torch.Tensor = instance_norm(torch.randn(2, 3, 8), return_moments=True)
'''


def test_types(mypy, tmp_path):
    """The whole package, the examples and users' programs, strictly: in one run, which reads PyTorch once."""
    if not oracle.NEWEST:
        pytest.skip("the types of an older PyTorch know less")
    for name, text in ("typed", TYPED), ("wrong", WRONG):
        (tmp_path / f"{name}.py").write_text(text)
    examples = sorted((ROOT / "examples").glob("*.py"))
    assert examples
    for example in examples:
        (tmp_path / f"example_{example.name}").write_text(example.read_text())
    programs = sorted(path.stem for path in tmp_path.glob("*.py"))
    modules = [word for name in programs for word in ("-m", name)]
    done = mypy("mypy", "--config-file", "-p", "instnorm", *modules, path=tmp_path)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 2 and all(Path(line.split(":")[0]).name == "wrong.py" for line in errors), done.stdout + done.stderr
    assert Path(instnorm.__file__).with_name("py.typed").exists()


def test_importing_instnorm_does_not_import_torch():
    code = "import sys, instnorm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
