"""Recipes in a page of the documentation: what one types, and what must be printed.

A recipe is a fenced block whose first line begins with `$ `; lines after `$ ` and `> ` are
typed into a shell, the others are what it must print, where `...` stands for anything.
"""

import re

BLOCK = re.compile(r"^```\n(\$ .*?)^```$", re.MULTILINE | re.DOTALL)


def of(text):
    """(commands, expected) of each block; a command goes on after a backslash or `> `."""
    for match in BLOCK.finditer(text):
        typed, shown, more = [], [], False
        for line in match[1].splitlines():
            if line.startswith(("$ ", "> ")):
                typed.append(line[2:])
            elif more:
                typed.append(line)
            else:
                shown.append(line)
            more = line.endswith("\\")
        yield "\n".join(typed), "\n".join(shown)


def matches(expected, found):
    pattern = ".*".join(map(re.escape, expected.split("...")))
    return re.fullmatch(pattern, found, re.DOTALL)


def check(typed, expected, printed):
    if not matches(expected, printed.replace("\r\n", "\n").rstrip("\n")):
        raise AssertionError(f"{typed}\nshould print\n{expected}\nand prints\n{printed}")
