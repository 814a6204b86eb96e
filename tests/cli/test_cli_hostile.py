"""Every option of every command, as its help lists them, by every hostile value: exit status 2 or 1, one line that
names the option or the file, no file left behind and none changed. What is allowed stands in ALLOWED."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

# A call that is right of each command; a new one is in the table when it is here.
GOOD = {
    "apply": ["x.npy", "y.npy"],
    "denormalize": ["x.npy", "y.npy", "--moments", "m.safetensors"],
    "moments": ["x.npy"],
    "bench": ["--shape", "1,1,2", "--threads", "1"],
    "info": [],
}
# What an option needs beside it, by the name that its help gives.
NEEDED = {"--state": ["--state", "s.safetensors"], "--train": ["--train"]}


class Option(NamedTuple):
    name: str  # "--eps", or "IN" of a positional
    kind: str  # "flag", or what its value is: "NUMBER", "FILE", ...
    needs: tuple[str, ...]
    excludes: tuple[str, ...]
    positional: bool
    written: bool  # a file that the command makes


def ask(binary: str, *words: str) -> str:
    return subprocess.run([binary, *words, "--help"], capture_output=True, text=True, check=True).stdout


def commands(binary: str) -> list[str]:
    return re.findall(r"^  (\w+) ", ask(binary).split("Subcommands:")[1], re.MULTILINE)


def options(binary: str, command: str) -> list[Option]:
    """Read off the help. A line of it with a name begins with two spaces."""
    found = []
    section = ""
    for line in ask(binary, command).splitlines():
        section = line if re.match(r"\w+:$", line) else section
        head = re.match(r"  (?:-\w,)?(--?[\w-]+|[A-Z]+)( .*?)?(?:  +|$)(.*)", line)
        if not head or section not in ("Options:", "Positionals:") or head[1] == "--help":
            continue
        words = (head[2] or "").split()
        needs, excludes = (tuple(b for a, b in zip(words, words[1:], strict=False) if a == mark) for mark in ("Needs:", "Excludes:"))
        plain = [w for w in words if w not in ("REQUIRED", "...", "Needs:", "Excludes:", *needs, *excludes)]
        positional = section == "Positionals:"
        kind = "FILE" if positional else plain[0].split(":")[0] if plain else "flag"
        found.append(Option(head[1], kind, needs, excludes, positional, head[1] in ("OUT", "-o") or head[1].startswith("--save")))
    return found


TEXTS: dict[str, str | bytes] = {
    "empty": "", "a space": " ", "negative": "-1", "zero": "0", "huge": "9" * 30, "beyond double": "1e400", "nan": "nan", "inf": "inf",
    "no number": "zzz", "more behind": "1e-5x", "hexadecimal": "0x10", "octal": "010", "a sign": "+1", "a comma": "1,5", "other digits": "١",
    "two lines": "a\nb", "not UTF-8": b"\xff\xfe", "an escape": "\x1b[31m", "very long": "9" * 100_000, "an option": "--no-such-option",
    "-": "-", "--": "--", "a fraction": "1.5", "bytes of a format": "%s%n%d",
}
# Made in the folder of the test.
PATHS: dict[str, str | bytes] = {
    "missing": "missing", "in a missing folder": "no-folder/file", "a folder": "folder", "behind a file": "text/file", "a file as a folder": "x.npy/",
    "text": "text", "an empty file": "empty", "cut short": "short", "a pipe": "pipe", "a loop": "loop", "/dev/null": "/dev/null", "/dev/full": "/dev/full",
    "unreadable": "unreadable", "a name too long": "n" * 300, "a path too long": "p/" * 3000, "/": "/", ".": ".", "/proc/self/mem": "/proc/self/mem",
}
# (option or kind of value, value): what is no error, and why.
ALLOWED = {
    **{("--eps", value): "a number" for value in ("zero", "huge", "octal", "a fraction")},
    **{("--momentum", value): "a number" for value in ("zero", "huge", "octal", "a fraction", "negative")},
    **{("K", value): "a number, as C writes it" for value in ("octal", "hexadecimal", "a sign")},
    **{(name, "an option"): "what stands behind an option is its value, as with getopt" for name in ("-o", "--save-state", "--save-moments")},
    ("--prefix", "empty"): "the names stand at the beginning",
    ("OUT", "/dev/null"): "for the time that it takes", ("-o", "/dev/null"): "the same",
    ("--save-state", "/dev/null"): "the same", ("--save-moments", "/dev/null"): "the same",
}


@pytest.fixture
def folder(tmp_path: Path, run) -> Path:
    x = np.random.default_rng(5).normal(size=(2, 3, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    run("moments", "x.npy", "-o", "m.safetensors", cwd=tmp_path)
    header = b'{"running_mean":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"running_var":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}}'
    header += b" " * (-len(header) % 8)
    (tmp_path / "s.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + np.ones(6, np.float32).tobytes())
    (tmp_path / "text").write_text("no file of anything")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "short").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    (tmp_path / "unreadable").write_bytes(b"not for all")
    (tmp_path / "unreadable").chmod(0)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """All that is in it; of what is no file, what it is."""
    found: dict[str, bytes | str] = {}
    for entry in sorted(folder.rglob("*")):
        mode = entry.lstat().st_mode
        readable = entry.is_file() and not entry.is_symlink() and mode & 0o400
        found[str(entry.relative_to(folder))] = entry.read_bytes() if readable else oct(mode)
    return found


def all_options(binary: str) -> list[tuple[str, Option]]:
    return [(command, option) for command in commands(binary) for option in options(binary, command)]


def test_the_table_has_every_command_and_its_options(binary: str) -> None:
    assert {*commands(binary)} == {*GOOD}
    found = all_options(binary)
    for command in GOOD:
        # As many as have a line of their own in the help.
        lines = re.findall(r"^  (?:-\w,)?--?\w", ask(binary, command), re.MULTILINE)
        assert len(lines) == sum(c == command and not o.positional for c, o in found) + 1
    names = {o.name for _, o in found}
    assert {"IN", "OUT", "Y", "-o", "--eps", "--lengths", "--save-moments", "--threads", "--shape"} <= names
    for _, option in found:
        assert {*option.needs} <= {*NEEDED} and {*option.excludes} <= names
    assert {o.name for _, o in found if o.written} == {"OUT", "-o", "--save-state", "--save-moments"}


class Tried(NamedTuple):
    status: int
    error: bytes


def call(binary: str, folder: Path, words: list[str | bytes]) -> Tried:
    done = subprocess.run([binary, *words], cwd=folder, capture_output=True, timeout=20, stdin=subprocess.DEVNULL,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return Tried(done.returncode, done.stderr)


def fault(tried: Tried, known_by: list[str | bytes], statuses: tuple[int, ...] = (1, 2)) -> str:
    """What is wrong with how it ended, if it should have failed."""
    if tried.status not in statuses:
        return f"exit status {tried.status}, {tried.error[:200]!r}"
    if not tried.error.startswith(b"instnorm: ") or tried.error.count(b"\n") != 1 or not tried.error.endswith(b"\n"):
        return f"no line: {tried.error[:200]!r}"
    if len(tried.error) > 10_000:
        return f"a line of {len(tried.error)} bytes"
    if re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", tried.error):
        return f"control characters: {tried.error[:200]!r}"
    if not any((k.encode() if isinstance(k, str) else k) in tried.error for k in known_by):
        return f"names neither of {known_by}: {tried.error[:200]!r}"
    return ""


def without(words: list[str], option: Option, command: str, binary: str) -> list[str]:
    """The good call without `option` and its value."""
    if option.positional:
        index = [o.name for o in options(binary, command) if o.positional].index(option.name)
        return words[:index] + words[index + 1:]
    if option.name in words:
        at = words.index(option.name)
        return words[:at] + words[at + 2:]
    return words


def with_value(binary: str, command: str, option: Option, value: str | bytes) -> list[str | bytes]:
    words: list[str | bytes] = [*without(GOOD[command], option, command, binary)]
    for need in option.needs:
        words += NEEDED[need]
    if option.positional:
        index = [o.name for o in options(binary, command) if o.positional].index(option.name)
        return [command, *words[:index], value, *words[index:]]
    if option.name == "--save-state":
        words += NEEDED["--state"]
    return [command, *words, option.name, value]


@pytest.mark.parametrize("command", GOOD)
def test_every_option_by_every_value(binary: str, folder: Path, command: str) -> None:
    wrong: list[str] = []
    tried = refused = 0
    for option in options(binary, command):
        if option.kind == "flag":
            continue
        values = {**TEXTS, **PATHS} if option.kind == "FILE" else TEXTS
        if option.written:
            # Any other text is the name of a file that may be made.
            values = {**{name: TEXTS[name] for name in ("empty", "-", "very long", "an option")}, **PATHS}
            del values["a pipe"]  # it waits for who reads, as with every command
            del values["missing"]
        if option.positional:
            values = {name: value for name, value in values.items() if value != "--"}  # which ends the options
        files = option.kind == "FILE" or option.name == "--prefix"
        may_replace = files and any(o.name == "--force" for o in options(binary, command))
        for name, value in values.items():
            for over in (False, True) if may_replace else (False,):
                (folder / "y.npy").unlink(missing_ok=True)
                if over:
                    (folder / "y.npy").write_bytes(b"what was there")
                before = snapshot(folder)
                if over and option.written and name not in TEXTS and os.path.isfile(folder / os.fsdecode(value)):
                    continue  # that is what --force is for
                words = with_value(binary, command, option, value)
                done = call(binary, folder, [*words, "--force"] if over else words)
                where = f"{command} {option.name} = {name}{' over a file' if over else ''}"
                tried += 1
                if done.status == 0 and ((option.name, name) in ALLOWED or (option.kind, name) in ALLOWED):
                    for left in {*snapshot(folder)} - {*before}:
                        (folder / left).unlink()
                    continue
                refused += 1
                shown = value if isinstance(value, bytes) else value.encode()[:60]
                known_by: list[str | bytes] = [option.name, option.name.strip("-").replace("-", "_")]
                if option.kind == "FILE" and value:
                    known_by.append(shown.replace(b"\n", rb"\n").replace(b"\x1b", rb"\x1b"))
                if option.positional and name == "an option":
                    known_by += ["IN", "OUT", "Y"]  # there is one less
                if problem := fault(done, known_by, (1, 2) if files else (2,)):
                    wrong.append(f"{where}: {problem}")
                if (after := snapshot(folder)) != before:
                    wrong.append(f"{where}: {[k for k in {**before, **after} if before.get(k) != after.get(k)]} changed")
                    for left in {*after} - {*before}:
                        (folder / left).unlink()
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n".join(wrong)
    least = {"apply": 350, "denormalize": 180, "moments": 80, "bench": 40, "info": 0}
    assert refused >= least[command], (tried, refused)


def good_words(option: Option) -> list[str]:
    """It, with a value that is right."""
    if option.kind == "flag":
        return [option.name]
    by_name = {"--state": "s.safetensors", "--moments": "m.safetensors", "--mask": "mask.npy", "--lengths": "lengths.npy",
               "--nan-policy": "omit", "--activation": "relu", "--prefix": ""}
    by_kind = {"FILE": "made", "NUMBER": "0.5", "K": "1", "NCL|NLC": "NCL", "N,C,L": "1,1,2", "T": "f32"}
    return [option.name, by_name.get(option.name, by_kind.get(option.kind, ""))]


@pytest.mark.parametrize("command", GOOD)
def test_every_combination_that_there_is_not(binary: str, folder: Path, command: str) -> None:
    np.save(folder / "mask.npy", np.ones((2, 4), bool))
    np.save(folder / "lengths.npy", np.array([4, 2]))
    known = options(binary, command)
    of_others = {o.name for c, o in all_options(binary) if not o.positional} - {o.name for o in known}
    good, by_name = GOOD[command], {o.name: o for o in known}
    table: list[tuple[str, list[str], list[str]]] = []  # what, the words, what the line must have one of
    for option in known:
        if option.positional:
            table.append((f"without {option.name}", without(good, option, command, binary), ["required", "IN", "OUT"]))
            continue
        needed = [w for need in option.needs for w in NEEDED[need]] + (NEEDED["--state"] if option.name == "--save-state" else [])
        rest = without(good, option, command, binary)
        words = good_words(option)
        if option.kind != "flag":
            table.append((f"{option.name} without a value", [*rest, *needed, option.name], [option.name]))
            table.append((f"{option.name} abbreviated", [*rest, *needed, option.name[:-1], *words[1:]], [option.name[:-1]]))
            if option.name != "--shape":
                table.append((f"{option.name} twice", [*rest, *needed, *words, *words], [option.name]))
        else:
            table += [(f"{option.name}={value}", [*rest, *needed, f"{option.name}={value}"], [option.name]) for value in ("maybe", "2x", "-")]
        table += [(f"{option.name} without {need}", [*rest, *words], [option.name]) for need in option.needs]
        table += [(f"{option.name} with {other}", [*rest, *needed, *words, *good_words(by_name[other])], [option.name, other]) for other in option.excludes]
    table += [(f"{name} of another command", [*good, name], [name]) for name in sorted(of_others)]
    table += [(f"{word} behind", [*good, word], [word]) for word in ("surplus", "-q", "--no-such-option", "--no-such=1")]
    if command == "apply":
        two = [o for o in known if o.name in ("--lengths", "--mask")]
        table.append(("lengths and mask", [*good, *good_words(two[0]), *good_words(two[1])], ["--lengths", "--mask", "lengths and mask"]))
    before = snapshot(folder)
    wrong = []
    for what, words, named in table:
        if problem := fault(call(binary, folder, [command, *words]), list(named), (2,)):
            wrong.append(f"{command} {what}: {problem}")
        for left in {*snapshot(folder)} - {*before}:
            wrong.append(f"{command} {what}: {left} was left")
            (folder / left).unlink()
    assert snapshot(folder) == before
    assert not wrong, f"{len(wrong)} of {len(table)}\n" + "\n".join(wrong)
    assert len(table) >= {"apply": 60, "denormalize": 30, "moments": 20, "bench": 20, "info": 15}[command], len(table)


@pytest.mark.parametrize("word", TEXTS)
def test_every_word_in_the_place_of_a_command(binary: str, folder: Path, word: str) -> None:
    before = snapshot(folder)
    value = TEXTS[word]
    shown = value if isinstance(value, bytes) else value.encode()[:60]
    known_by: list[str | bytes] = ["subcommand", shown.replace(b"\n", rb"\n").replace(b"\x1b", rb"\x1b")]
    assert not fault(call(binary, folder, [value, "x.npy", "y.npy"]), known_by, (2,))
    assert snapshot(folder) == before
