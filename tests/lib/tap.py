"""Subtests for scripts: `with tap.case("name"): ...`, then `sys.exit(tap.done())`.

A case fails by an exception, AssertionError or other; the rest goes on.
"""

import contextlib
import sys
import traceback

results = []


@contextlib.contextmanager
def case(name):
    try:
        yield
    except Exception:  # pylint: disable=broad-except
        results.append(False)
        print(f"not ok {len(results)} - {name}")
        print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), flush=True)
    else:
        results.append(True)
        print(f"ok {len(results)} - {name}", flush=True)


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"expected {expected!r}, found {found!r}")


def contains(text, part):
    if part not in text:
        raise AssertionError(f"expected {part!r} in {text!r}")


def done():
    print(f"1..{len(results)}")
    return 0 if results and all(results) else 1


def skip_all(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)
