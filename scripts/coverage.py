#!/usr/bin/env python3
"""How much of the library the C++ tests run: coverage.py BUILD [--least 95] [--lines FILE...]

Reads what the tests of a build with INSTNORM_COVERAGE (the preset asan) left in BUILD/coverage, and
prints a table of lines and branches by file; with --lines, the uncovered lines and branches of those
files. Fails if less than --least per cent of all lines, or of all branches, have run.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def tool(name: str) -> str:
    found = shutil.which(f"{name}-19") or shutil.which(name)
    if not found:
        sys.exit(f"coverage: {name} is missing (package llvm-19)")
    return found


def exported(build: pathlib.Path) -> dict:
    """What llvm-cov knows of the files of src/, all test programs together."""
    profile = build / "coverage.profdata"
    raw = sorted((build / "coverage").glob("*.profraw"))
    if not raw:
        sys.exit(f"coverage: no test has run in {build}")
    subprocess.run([tool("llvm-profdata"), "merge", "--sparse", "-o", profile, *raw], check=True)
    programs = sorted(p for p in (build / "tests").glob("*_test") if p.is_file())
    objects = [word for program in programs[1:] for word in ("-object", str(program))]
    text = subprocess.run(
        [tool("llvm-cov"), "export", "-instr-profile", profile, programs[0], *objects, ROOT / "src"],
        check=True, capture_output=True, text=True).stdout
    return json.loads(text)["data"][0]


def uncovered(file: dict) -> list[str]:
    """The regions and the sides of branches that never ran, as LINE:COLUMN."""
    seen: dict[tuple, list[int]] = {}
    for line, column, end_line, end_column, yes, no, *_ in file["branches"]:
        counts = seen.setdefault((line, column, end_line, end_column), [0, 0])
        counts[0] += yes
        counts[1] += no
    source = pathlib.Path(file["filename"]).read_text().splitlines()
    found = {}
    for (line, column, _, end), (yes, no) in seen.items():
        for side, count in (("true", yes), ("false", no)):
            if count == 0:
                found[line, column, side] = f"never {side}: {source[line - 1][column - 1 : end - 1].strip()}"
    for line, column, count, has_count, entry, *_ in file["segments"]:
        if has_count and entry and count == 0:
            found[line, column, ""] = f"never runs: {source[line - 1].strip()}"
    return [f"{line}:{column} {what}" for (line, column, _), what in sorted(found.items())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--least", type=float, default=95.0)
    parser.add_argument("--lines", nargs="*", default=None, metavar="FILE", help="all of them without a name")
    args = parser.parse_args()
    data = exported(args.build)
    print(f"{'file':38} {'lines':>13} {'branches':>13}")
    total = {"lines": [0, 0], "branches": [0, 0]}
    for file in sorted(data["files"], key=lambda f: f["filename"]):
        name = str(pathlib.Path(file["filename"]).relative_to(ROOT))
        row = []
        for kind in total:
            summary = file["summary"][kind]
            total[kind][0] += summary["covered"]
            total[kind][1] += summary["count"]
            row.append(f"{summary['covered']:6}/{summary['count']:<6}")
        print(f"{name:38} {row[0]} {row[1]}")
        if args.lines is not None and (not args.lines or any(part in name for part in args.lines)):
            print("".join(f"    {line}\n" for line in uncovered(file)), end="")
    percent = {kind: 100 * covered / max(count, 1) for kind, (covered, count) in total.items()}
    print("all: " + ", ".join(f"{p:.1f} % of {total[kind][1]} {kind}" for kind, p in percent.items()))
    if (low := [kind for kind, p in percent.items() if p < args.least]):
        print(f"coverage: less than {args.least:g} % of the {' and '.join(low)}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
