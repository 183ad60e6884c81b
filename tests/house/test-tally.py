#!/usr/bin/env python3
"""tally.py counts what ran: subtests one by one, crashes, and skips that are not allowed."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TALLY = pathlib.Path(__file__).parents[1] / "lib" / "tally.py"
# (result, stdout, counts, counts with --required)
CASES = [
    ("OK", "", "1 0 0", "1 0 0"),
    ("FAIL", "", "0 1 0", "0 1 0"),
    ("TIMEOUT", "", "0 1 0", "0 1 0"),
    ("SKIP", "no qemu here", "0 0 1", "0 1 0"),
    ("OK", "1..2\nok 1 - a\nok 2 - b\n", "2 0 0", "2 0 0"),
    ("FAIL", "1..2\nok 1 - a\nnot ok 2 - b\n", "1 1 0", "1 1 0"),
    ("FAIL", "1..3\nok 1 - a\n", "1 1 0", "1 1 0"),
    ("ERROR", "1..1\nok 1 - a\n", "1 1 0", "1 1 0"),
    ("OK", "1..2\nok 1 - a\nok 2 - b # SKIP not as root\n", "1 0 1", "1 0 1"),
    ("OK", "1..1\nnot ok 1 - a # TODO later\n", "1 0 0", "1 0 0"),
]


def tally(runs, *flags):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as log:
        for result, stdout in runs:
            log.write(json.dumps({"name": "t", "result": result, "stdout": stdout}) + "\n")
        log.flush()
        run = subprocess.run(
            [sys.executable, TALLY, *flags, log.name], capture_output=True, text=True, check=True
        )
    return run.stdout.strip(), run.stderr


class Tally(unittest.TestCase):
    def test_each(self):
        for result, stdout, plain, required in CASES:
            with self.subTest(result=result, stdout=stdout):
                self.assertEqual(tally([(result, stdout)])[0], plain)
                self.assertEqual(tally([(result, stdout)], "--required")[0], required)

    def test_sum(self):
        self.assertEqual(tally([case[:2] for case in CASES])[0], "8 5 2")

    def test_skip_is_named(self):
        self.assertIn("t: no qemu here", tally([("SKIP", "no qemu here")], "--required")[1])

    def test_nothing(self):
        self.assertEqual(tally([])[0], "0 0 0")


if __name__ == "__main__":
    unittest.main()
