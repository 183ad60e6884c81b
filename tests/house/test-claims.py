#!/usr/bin/env python3
"""Every test that coverage-of-claims.md names is there, and every claim has one."""

import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| (?!claim |error |-)(.*) \| (.*) \|$", re.MULTILINE)
CITED = re.compile(r"`([^`]+)`")


def faults(text):
    rows = ROW.findall(text)
    if len(rows) < 50:
        yield f"only {len(rows)} claims"
    for claim, tests in rows:
        cited = CITED.findall(tests)
        if not cited:
            yield f"no test: {claim}"
        for file, _, name in (c.partition(": ") for c in cited):
            path = TESTS / file
            if not path.is_file():
                yield f"no such file: {file}"
            elif name and f" test_{name}(" not in path.read_text():
                yield f"no such test: {file}: {name}"


def main():
    text = (TESTS / "coverage-of-claims.md").read_text()
    found = list(faults(text))
    # The check itself works: a wrong name, a wrong file and a bare claim are found.
    for spoilt in (text.replace("asking_changes_nothing", "nonesuch"),
                   text.replace("wire-greeting.py", "nonesuch.py"),
                   text + "\n| a bare claim | none |\n"):
        if len(list(faults(spoilt))) <= len(found):
            found.append("the check does not find what is wrong")
    print("\n".join(found) or "all there")
    return bool(found)


sys.exit(main())
