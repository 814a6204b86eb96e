"""What the documents say is there: the README's program, commands, files and links."""

import os
import pathlib
import re
import shlex
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "release")).resolve()
FOLDERS = ("", "docs/", "docs/cookbook/", "data/")
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in ROOT.glob(f"{folder}*.md"))


def text_of(document):
    return (ROOT / document).read_text(encoding="utf-8")


def fenced(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def anchor(heading):
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def commands(text):
    """What the indented and the `quoted` code of a document has a reader type."""
    indented = re.findall(r"^    (?:\$ )?(\S.*)$", text, re.MULTILINE)
    quoted = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]
    for line in [*indented, *quoted]:
        for command in re.split(r" && ", line.split("  #")[0]):
            yield command


def test_the_readme_shows_the_program_that_is_built():
    (program,) = fenced(text_of("README.md"), "cpp")
    assert program == text_of("examples/first.cc")


def test_the_readme_shows_what_the_program_prints():
    printed = subprocess.run([BUILD / "examples" / "example_first"], capture_output=True, text=True,
                             check=True).stdout
    assert f"prints `{printed.strip()}`" in text_of("README.md")


def test_the_readmes_python_runs():
    instnorm = pytest.importorskip("instnorm", reason="needs the package")
    x = np.random.default_rng(0).standard_normal((2, 3, 50))
    arrays, torch_lines = fenced(text_of("README.md"), "python")
    names = {"instnorm": instnorm, "x": x}
    exec(arrays, names)
    assert names["x"] is not x and np.allclose(names["x"], x) and abs(names["y"].mean()) < 1e-12

    torch = pytest.importorskip("torch", reason="needs PyTorch")
    assert len(torch_lines.splitlines()) == 3
    model = torch.nn.Sequential(torch.nn.InstanceNorm1d(3), torch.nn.GroupNorm(3, 3), torch.nn.GroupNorm(1, 3))
    names = {"model": model, "x": torch.from_numpy(x).float()}
    exec(torch_lines, names)
    assert names["model"] is model and names["loss"].item() == pytest.approx(1, abs=1e-3)
    assert [type(m).__module__.split(".")[0] for m in model] == ["instnorm", "instnorm", "torch"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if re.match(r"https?:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in map(anchor, headings), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document):
    known = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE))
    for command in commands(text_of(document)):
        if command.startswith("make "):
            targets = [word for word in shlex.split(command)[1:] if "=" not in word]
            assert set(targets) <= known, command


@pytest.mark.parametrize("document", DOCUMENTS)
def test_cmake_presets_exist(document):
    presets = re.findall(r'"name": "(\w+)"', text_of("CMakePresets.json"))
    for preset in re.findall(r"--preset (\w+)", text_of(document)):
        assert preset in presets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_scripts_exist_and_know_their_options(document):
    for command in commands(text_of(document)):
        words = command.split()
        for i, word in enumerate(words):
            if re.fullmatch(r"(scripts|bench|examples|tests)/[\w/]+\.(py|sh)|\.ci/run", word):
                script = ROOT / word
                assert script.exists(), command
                for option in re.findall(r" (--[\w-]+)", " ".join(words[i:])):
                    assert option in script.read_text(encoding="utf-8"), command


@pytest.mark.parametrize("document", DOCUMENTS)
def test_instnorm_commands_and_options_exist(document):
    help_of = {}
    for command in commands(text_of(document)):
        match = re.match(r"instnorm ([a-z]+)(.*)", command)
        if not match:
            continue
        name, rest = match.groups()
        if name not in help_of:
            done = subprocess.run([BUILD / "tools" / "instnorm", name, "--help"], capture_output=True,
                                  text=True)
            assert done.returncode == 0, command
            help_of[name] = done.stdout
        for option in re.findall(r" (--[\w-]+)", rest):
            assert option in help_of[name], command


def test_sources_that_design_names_exist():
    text = text_of("docs/design.md")
    for name in re.findall(r"(?<![\w/*-])[a-z][\w/-]*\.(?:h|cc)\b", text):
        places = [ROOT / "src", ROOT / "include" / "instnorm", ROOT / "tests", ROOT]
        assert any((place / name).exists() for place in places) or list(ROOT.glob(f"src/cpu/{name}")), name


def test_every_data_file_is_described():
    described = set(re.findall(r"`([\w.]+\.npy)`", text_of("data/README.md")))
    assert described == {path.name for path in (ROOT / "data").glob("*.npy")}
