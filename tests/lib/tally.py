#!/usr/bin/env python3
"""Counts what `meson test` wrote: prints `PASSED FAILED SKIPPED`.

A TAP program counts each of its subtests, anything else counts as one.  A program that
failed beside its subtests (it crashed, or planned more than it ran) is a failure of its
own.  With --required a skipped program is a failure, and is named on standard error.
"""

import argparse
import json
import re
import sys

TAP = re.compile(r"^(not )?ok\b([^#]*)(?:#\s*(skip|todo)?.*)?$", re.IGNORECASE)
FAILED = {"FAIL", "ERROR", "TIMEOUT", "INTERRUPT", "UNEXPECTEDPASS"}


def count_tap(text):
    passed = failed = skipped = 0
    for line in text.splitlines():
        if match := TAP.match(line):
            directive = (match[3] or "").lower()
            if directive == "skip":
                skipped += 1
            elif match[1] and directive != "todo":
                failed += 1
            else:
                passed += 1
    return passed, failed, skipped


def count(run, required):
    result = run["result"]
    passed = failed = skipped = 0
    out = run.get("stdout", "")
    if re.search(r"^1\.\.\d+", out, re.MULTILINE):
        passed, failed, skipped = count_tap(out)
    if result in FAILED and not failed:
        failed = 1
    elif result == "SKIP":
        if required:
            print(f"required, but skipped: {run['name']}: {out.strip()}", file=sys.stderr)
            return 0, 1, 0
        skipped = max(skipped, 1)
    elif not passed and not failed and not skipped:
        passed = 1
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--required", action="store_true")
    parser.add_argument("testlog", help="meson's testlog.json")
    args = parser.parse_args()
    total = [0, 0, 0]
    with open(args.testlog, encoding="utf-8") as log:
        for line in log:
            total = [a + b for a, b in zip(total, count(json.loads(line), args.required))]
    print(*total)


if __name__ == "__main__":
    main()
