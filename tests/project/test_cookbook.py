"""The pages of the cookbook, run as their reader would: from top to bottom, beside data/."""

from __future__ import annotations

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("instnorm", reason="needs the package")
torch = pytest.importorskip("torch", reason="needs PyTorch")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "release")).resolve()
COOKBOOK = ROOT / "docs" / "cookbook"
PAGES = sorted(path.stem for path in COOKBOOK.glob("*.md") if path.name != "README.md")


def snippets(page):
    """(language, code, line) of each fenced block."""
    text = (COOKBOOK / f"{page}.md").read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield match[1], match[2], text.count("\n", 0, match.start()) + 1


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A folder with data/, the command on the path, one thread: arrays are small."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{BUILD / 'tools'}{os.pathsep}{os.environ['PATH']}")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("page", PAGES)
def test_every_snippet_runs(page, reader):
    names = {}
    for language, code, line in snippets(page):
        if language == "python":
            exec(compile("\n" * line + code, f"{page}.md", "exec"), names)
        else:
            assert language == "bash", f"{page}.md, line {line}: not run"
            done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", code], capture_output=True, text=True)
            assert done.returncode == 0, f"{page}.md, line {line}: {done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_every_page_asserts_and_compares(page):
    codes = [code for language, code, _ in snippets(page) if language == "python"]
    assert sum(code.count("assert ") for code in codes) >= 3
    text = (COOKBOOK / f"{page}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Today", "With instnorm", "What it changes"]


def bare(code):
    """Functions and classes by name, without types and docstrings."""
    found = {}
    for node in ast.parse(code).body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.arg):
                inner.annotation = None
            elif isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                if isinstance(inner, ast.FunctionDef):
                    inner.returns = None
                if ast.get_docstring(inner):
                    inner.body = inner.body[1:]
        found[node.name] = ast.unparse(node)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_what_people_write_today_is_what_is_measured(page):
    measured = bare((ROOT / "bench" / "by_hand.py").read_text(encoding="utf-8"))
    shown = [bare(code) for language, code, _ in snippets(page) if language == "python"]
    same = [measured[name] == code for block in shown for name, code in block.items() if name in measured]
    assert same and all(same)


def test_the_index_has_every_page_and_the_readme_has_the_index():
    index = (COOKBOOK / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\(([\w-]+)\.md\)", index)) == PAGES
    assert "(docs/cookbook/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_pictures_are_drawn_and_shown(tmp_path):
    pytest.importorskip("matplotlib", reason="draws")
    shown = {name for page in PAGES
             for name in re.findall(r"\((?:\.\./)img/([\w-]+\.png)\)", (COOKBOOK / f"{page}.md").read_text(encoding="utf-8"))}
    command = [sys.executable, ROOT / "scripts" / "cookbook_figures.py", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == shown == {path.name for path in (ROOT / "docs" / "img").glob("cookbook-*.png")}
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for name in drawn)


@pytest.mark.parametrize("options", [[], ["--digits"]])
def test_the_benchmark_of_the_extras_runs(options):
    """It checks values and gradients of every case before it times it."""
    script = ROOT / "bench" / "bench_extras.py"
    small = [] if options else ["--rounds", "1", "--shape", "3,4,200", "--threads", "1"]
    done = subprocess.run([sys.executable, script, *small, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| lengths |" in done.stdout and "| RevIN, norm |" in done.stdout
