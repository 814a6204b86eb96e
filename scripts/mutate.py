#!/usr/bin/env python3
"""Mutation testing of the core: breaks one line, builds, and sees whether a test fails.

    mutate.py [--short | --each 6] [--seed 1] [--only PART_OF_A_NAME]... [--workers 2] [--list]

The mutants are a seeded sample of what the rules below make of the files below, --each of a file.
A mutant's name is FILE:LINE:COLUMN RULE. One that does not compile does not count. Each worker has
a copy of the sources and two builds of its own in build/mutate, for one instruction set each: AVX2,
and, for what survives there, SCALAR with AddressSanitizer and UndefinedBehaviorSanitizer. It runs
the test programs until one fails. Prints a table by file; exit 1 if a mutant survived that
docs/reliability.md does not name.

--short takes two minutes: SHORT alone, one after the other, on SCALAR without sanitizers, by the
quickest programs. All must die.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import queue
import random
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "mutate"
EXPLAINED = ROOT / "docs" / "reliability.md"
CPU = "sums-inl.h combine-inl.h output-inl.h algebra-inl.h lanes-inl.h io-inl.h columns-inl.h activation-inl.h kernels-inl.h " \
      "forward.cc backward.cc presence.cc tile.cc row.cc"
FILES = ["src/" + name for name in "row_algebra.h row_formulas-inl.h moments.cc problem.cc border.cc plan.cc overlap.cc".split()]
FILES += ["src/cpu/" + name for name in CPU.split()]

# Quickest first; all tests of numbers, plans and errors. Not those of files, processes and the tools.
PROGRAMS = """exact errors extras_errors functional plan activation bias_rows running overlap module moments selection
padding denormalize bits streamed extras forward cases backward double_backward allocation concurrency hostile
hostile_types""".split()
QUICK = 13  # of them take less than a second or two
FILTER = "--gtest_filter=-*TwoToThe31*:*64Bits*:*TenMillion*"
FOLDER_OF_OBJECTS = "src/CMakeFiles/instnorm_core.dir/"
OBJECTS = [f"{FOLDER_OF_OBJECTS}{file}.o"
           for file in re.findall(r"^  ([\w/]+\.cc)", (ROOT / "src/CMakeLists.txt").read_text(), re.M)]
SLOWEST = f"{FOLDER_OF_OBJECTS}cpu/kernels_16bit.cc.o"
# Several times what the slowest takes: what takes longer hangs.
TIMEOUT = {"AVX2": 300, "SHORT": 60, "SCALAR": 900}

# AVX2 alone is compiled where it is the least that the compiler may take for granted and what is above it
# is left out. Its numbers are those of every instruction set. With sanitizers the optimiser takes minutes for
# the kernels, to find the same.
FLAGS = {
    "AVX2": "-O1 -march=haswell '-DINSTNORM_LEFT_OUT=(HWY_AVX3|HWY_AVX3_DL)'",
    "SHORT": "-O1 '-DINSTNORM_LEFT_OUT=(HWY_SSE4|HWY_AVX2|HWY_AVX3|HWY_AVX3_DL)'",
    "SCALAR": "-O0 -fsanitize=address,undefined -fno-sanitize-recover=all "
              "'-DINSTNORM_LEFT_OUT=(HWY_SSE4|HWY_AVX2|HWY_AVX3|HWY_AVX3_DL)'",
}

# --short: one of each part, as text that stands once in its file. Headers last, and those of all files at the
# end: what includes them is compiled again.
SHORT = [
    ("src/problem.cc", 'border.apart("grad_weight", gw, "grad_bias", gb);', ""),
    ("src/border.cc", "r.stride[last] == stride * v.shape[i]", "r.stride[last] != stride * v.shape[i]"),
    ("src/plan.cc", "plan.blocks >= plan.threads", "plan.blocks > plan.threads"),
    ("src/overlap.cc", "-origin - size + 1", "-origin - size"),
    ("src/moments.cc", "row.count = count[i];", ""),
    ("src/cpu/backward.cc", "gradients.bias[row.index(p)] = sums.g;", ""),
    ("src/cpu/forward.cc", "  merge(moments, block);", ""),
    ("src/cpu/presence.cc", "at += there[i];", "at += 1;"),
    ("src/cpu/sums-inl.h", "part = n % lanes", "part = n / lanes"),
    ("src/cpu/combine-inl.h", "hn::MulAdd(hn::Sub(v, ", "hn::NegMulAdd(hn::Sub(v, "),
    ("src/row_formulas-inl.h", "(a - (s - t)) + (b - t)", "(a - (s - t)) - (b - t)"),
    ("src/row_algebra.h", "var += row.m2", "var -= row.m2"),
]
SHORT_PROGRAMS = "exact errors plan running overlap moments bias_rows selection".split()

# What is replaced by what. Spaces tell an operator from a template's bracket, a reference or a sign.
REPLACED = [
    (r" < ", " <= "), (r" > ", " >= "), (r" <= ", " < "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "),
    (r" \+ ", " - "), (r" - ", " + "), (r" \* ", " / "), (r" / ", " * "), (r" % ", " / "),
    (r" \+= ", " -= "), (r" -= ", " += "), (r" && ", " || "), (r" \|\| ", " && "), (r" & ", " | "), (r" \| ", " & "),
    (r"(?<=[(\s])!(?=[\w(])", ""), (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"std::min\b", "std::max"), (r"std::max\b", "std::min"),
    (r"\bhn::Add\b", "hn::Sub"), (r"\bhn::Sub\b", "hn::Add"), (r"\bhn::Mul\b", "hn::Add"),
    (r"\bhn::MulAdd\b", "hn::NegMulAdd"), (r"\bhn::Lt\b", "hn::Le"), (r"\bhn::Le\b", "hn::Lt"),
    (r"\bhn::Gt\b", "hn::Ge"), (r"\bhn::Max\b", "hn::Min"), (r"\bhn::Min\b", "hn::Max"),
    (r"(?<![\w.])0(?![\w.])", "1"), (r"(?<![\w.])1(?![\w.])", "2"), (r"(?<![\w.])2(?![\w.])", "3"),
    (r"(?<![\w.])0\.0\b", "1.0"), (r"(?<![\w.])1\.0\b", "2.0"), (r"(?<![\w.])2\.0\b", "3.0"),
    (r"\? ([\w.]+) : ([\w.]+)", r"? \2 : \1"),
    (r"\((\w+), (\w+)(?=[,)])", r"(\2, \1"),
    (r", (\w+), (\w+)\)", r", \2, \1)"),
    (r" [-+] [\w.]+(?=[;)])", ""), (r" \* [\w.]+(?=[;)])", ""),
    (r"^( +)if \(.*\) (?:return|continue|break).*;$", r"\1"),
    (r"^( +)[\w.>\[\]-]+ [-+|&]?= [^{}]*;$", r"\1"),
    (r"^( +)[\w.:]+\([^{}]*\);$", r"\1"),
]

Mutant = collections.namedtuple("Mutant", "file line column rule text")


def name(mutant):
    return f"{mutant.file}:{mutant.line}:{mutant.column} {mutant.rule}"


def mutants_of(file):
    """All mutants of a file, in its order. Not of comments, strings, assertions and types alone."""
    found = []
    for number, line in enumerate((ROOT / file).read_text().splitlines(), 1):
        code = re.sub(r'"(?:[^"\\]|\\.)*"', lambda text: '"' + "\0" * (len(text[0]) - 2) + '"', line)
        code = code.split("//")[0].rstrip()
        if re.match(r"\s*(#|template|using|static_assert|assert|namespace|HWY_\w+\(|$)", code):
            continue
        for pattern, by in REPLACED:
            for hit in re.finditer(pattern, code):
                new = line[: hit.start()] + hit.expand(by) + line[hit.end() :]
                if new != line:
                    what = f"`{line[hit.start() : hit.end()].strip()}` -> `{hit.expand(by).strip()}`"
                    found.append(Mutant(file, number, hit.start() + 1, what, new))
    return found


def sample(files, each, seed):
    """`each` mutants of each file, on lines of their own; the files take turns."""
    chosen = []
    for file in files:
        every = mutants_of(file)
        random.Random(f"{seed} {file}").shuffle(every)
        by_line = {}
        for mutant in every:
            by_line.setdefault(mutant.line, mutant)
        chosen.append(list(by_line.values())[:each])
    return [group[i] for i in range(each) for group in chosen if i < len(group)]


def short_list():
    found = []
    for file, old, new in SHORT:
        hits = [(n, line) for n, line in enumerate((ROOT / file).read_text().splitlines(), 1) if old in line]
        if len(hits) != 1:
            sys.exit(f"mutate: {file} has no single line with {old!r}: name another in SHORT")
        number, line = hits[0]
        found.append(Mutant(file, number, line.index(old) + 1, f"`{old.strip()}` -> `{new.strip()}`", line.replace(old, new)))
    return found


class Worker:
    def __init__(self, number, builds, programs, jobs=1):
        self.source = FOLDER / f"source{number}"
        self.builds = {name: FOLDER / f"{name}{number}" for name in builds}
        self.programs = programs
        self.jobs = jobs
        self.log = FOLDER / f"log{number}.txt"

    def run(self, *command, timeout=None, **environment):
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                ["nice", *map(str, command)], stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **environment})
            try:
                return process.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
                return "hangs"

    def prepare(self):
        """Copies what differs, builds all, and sees that all tests pass."""
        for file in subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).split("\n"):
            if not re.match(r"(CMakeLists|cmake/|include/|src/|tools/|tests/|examples/|data/|cmake)", file):
                continue
            to = self.source / file
            if not (ROOT / file).is_file() or to.is_file() and to.read_bytes() == (ROOT / file).read_bytes():
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, to)
        cached = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache", "-DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON"]
        launcher = cached if shutil.which("ccache") else []
        for name, build in self.builds.items():
            ready = self.run(
                "cmake", "-S", self.source, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=None",
                "-DINSTNORM_BUILD_TOOLS=OFF", *launcher,
                f"-DCMAKE_CXX_FLAGS={FLAGS[name]}") == 0
            if not (ready and self.compile(name, *(f"{p}_test" for p in self.programs))):
                sys.exit(f"mutate: the build without a mutant fails: {self.log}")

    def compile(self, build, *which):
        return self.run("ninja", "-C", self.builds[build], f"-j{self.jobs}", *which,
                        CCACHE_BASEDIR=str(self.source), CCACHE_NOHASHDIR="1") == 0

    def test(self, which, programs):
        """The program that fails, or None. Links by ninja's own command, with the objects as they are."""
        build = self.builds[which]
        for program in programs:
            link = subprocess.check_output(
                ["ninja", "-C", str(build), "-t", "commands", "-s", f"tests/{program}_test"], text=True)
            link = re.search(r": && (.* -o .*?)( && |$)", link.strip().splitlines()[-1])[1]
            if self.run("sh", "-c", f"cd {build} && {link}") != 0:
                return "does not compile"
            result = self.run(build / "tests" / f"{program}_test", "--gtest_brief=1", "--gtest_fail_fast", FILTER,
                              timeout=TIMEOUT[which])
            if result != 0:
                return f"{program}_test" + (" hangs" if result == "hangs" else "")
        return None

    def outcome(self, mutant):
        path = self.source / mutant.file
        original = path.read_text()
        lines = original.splitlines(keepends=True)
        lines[mutant.line - 1] = mutant.text + "\n"
        path.write_text("".join(lines))
        try:
            with open(self.log, "a") as log:
                print("\n====", name(mutant), file=log)
            first = next(iter(self.builds))
            if not self.compile(first, *(o for o in OBJECTS if o != SLOWEST)):
                return "does not compile"
            if first == "SHORT":
                return self.test("SHORT", self.programs) or "survived"
            # Most die of float32 alone, with the old 16-bit kernels beside the new ones.
            in_kernels = mutant.file.endswith("-inl.h") or mutant.file == "src/row_algebra.h"
            if in_kernels and (killer := self.test("AVX2", PROGRAMS[:QUICK])):
                return killer
            if not self.compile("AVX2", SLOWEST):
                return "does not compile"
            if killer := self.test("AVX2", PROGRAMS):
                return killer
            if not self.compile("SCALAR", *OBJECTS):
                return "does not compile"
            return "sanitized " + killer if (killer := self.test("SCALAR", PROGRAMS)) else "survived"
        finally:
            path.write_text(original)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few, quickly")
    parser.add_argument("--each", type=int, default=6, help="mutants of a file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="mutants with this in their names")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no mutant later than that")
    parser.add_argument("--trust", action="store_true", help="do not run the tests without a mutant first")
    parser.add_argument("--list", action="store_true", help="print the names alone")
    args = parser.parse_args()
    every = short_list() if args.short else sample(FILES, args.each, args.seed)
    chosen = [m for m in every if not args.only or any(part in name(m) for part in args.only)]
    if args.list:
        print("\n".join(map(name, chosen)))
        return 0

    FOLDER.mkdir(parents=True, exist_ok=True)
    idle = queue.Queue()
    builds, programs = (["SHORT"], SHORT_PROGRAMS) if args.short else (["AVX2", "SCALAR"], PROGRAMS)
    workers = [Worker("", builds, programs, os.cpu_count())] if args.short else [
        Worker(number, builds, programs) for number in range(args.workers)]
    for worker in workers:
        worker.prepare()  # one after the other: the second finds most in the first's ccache
        if worker is workers[0] and not args.trust:
            if failed := next(filter(None, (worker.test(build, programs) for build in builds)), None):
                sys.exit(f"mutate: {failed} fails without a mutant: {worker.log}")
        idle.put(worker)
    print(f"{len(chosen)} mutants", flush=True)
    last = time.monotonic() + 60 * args.minutes

    def try_one(mutant):
        if time.monotonic() > last:
            return mutant, None
        worker = idle.get()
        start = time.monotonic()
        try:
            outcome = worker.outcome(mutant)
        finally:
            idle.put(worker)
        print(f"{outcome:36} {time.monotonic() - start:4.0f} s  {name(mutant)}", flush=True)
        return mutant, outcome

    with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:
        outcomes = list(pool.map(try_one, chosen))

    explained = EXPLAINED.read_text().replace("\\|", "|").splitlines()
    table = collections.defaultdict(collections.Counter)
    unexplained = 0
    for mutant, outcome in outcomes:
        if outcome is None or outcome == "does not compile":
            unexplained += args.short  # a list that is out of date
            continue
        table[mutant.file]["killed" if outcome != "survived" else "survived"] += 1
        if outcome == "survived":
            known = any(f"{mutant.file}`" in row and mutant.rule in row for row in explained)
            unexplained += not known
            print(f"survived{' (explained)' if known else ''}: {name(mutant)}")
    print("\n| file | killed | survived |\n|---|---:|---:|")
    for file, row in sorted(table.items()):
        print(f"| `{file}` | {row['killed']} | {row['survived']} |")
    killed, survived = (sum(row[key] for row in table.values()) for key in ("killed", "survived"))
    print(f"| all | {killed} | {survived} |")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
