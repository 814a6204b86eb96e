#!/usr/bin/env python3
"""Adds up test reports (JUnit XML, as ctest and pytest write it) and prints one closing line.

    test_summary.py [--also-failed K] REPORT.xml...

Prints `N passed, N failed`, and `, N skipped` where some were. A report that is missing or cannot
be read counts as one failure, and so does one without a test. K more failures can be added: checks
that write no report. Exit 0 if nothing failed.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree


def outcomes(path):
    """(passed, failed, skipped) of one report."""
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 0, 1, 0
    if not cases:
        print(f"{path}: no test was run", file=sys.stderr)
        return 0, 1, 0
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    return len(cases) - failed - skipped, failed, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--also-failed", type=int, default=0, metavar="K")
    parser.add_argument("reports", nargs="+", metavar="REPORT.xml")
    args = parser.parse_args()
    counts = [outcomes(path) for path in args.reports] + [(0, args.also_failed, 0)]
    passed, failed, skipped = (sum(column) for column in zip(*counts))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
