#!/usr/bin/env python3
"""check-rooms finds each kind of fault, at the line where it is, and nothing in a good tree."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).parents[1] / "check-rooms"
GOOD = {
    "tests/rooms.txt": "main -> a\na -> b\nb ->\nutil ->\ngenerated gen-*.h <- a\n",
    "include/vds/a.h": '#include "vds/b.h"\n',
    "include/vds/b.h": '#include "vds/util.h"\n',
    "include/vds/util.h": "\n",
    "src/main.c": '#include "vds/a.h"\n',
    "src/a/one.c": '#include "vds/a.h"\n#include "one-priv.h"\n#include "gen-types.h"\n',
    "src/a/one-priv.h": "\n",
    "src/b/two.c": '#include "vds/b.h"\n',
}
# (what is changed in the good tree, what must be said about it)
BAD = [
    ({"src/b/two.c": '\n#include "vds/a.h"\n'}, "src/b/two.c:2: room 'b' may not include room 'a'"),
    (
        {"src/b/two.c": '#include "../a/one-priv.h"\n'},
        "src/b/two.c:1: '../a/one-priv.h' is private to room 'a'",
    ),
    ({"src/b/two.c": '#include "gen-types.h"\n'}, "src/b/two.c:1: room 'b' may not include"),
    ({"src/b/two.c": '#include "nowhere.h"\n'}, "src/b/two.c:1: 'nowhere.h' is neither here"),
    ({"src/c/x.c": "\n"}, "src/c/x.c:1: no line in rooms.txt"),
    ({"include/vds/d.h": "\n"}, "include/vds/d.h:1: no line in rooms.txt"),
    (
        {"tests/rooms.txt": "main -> a\na -> b\nb -> a\nutil ->\ngenerated gen-*.h <- a\n"},
        "the arrows run in a circle: a -> b -> a",
    ),
    (
        {"include/vds/a.h": "\n"},
        "tests/rooms.txt:2: nothing uses the arrow 'a -> b'",
    ),
    ({"tests/rooms.txt": GOOD["tests/rooms.txt"] + "b ->\n"}, "rooms.txt:6: room 'b' has two"),
    ({"tests/rooms.txt": GOOD["tests/rooms.txt"] + "b => c\n"}, "rooms.txt:6: not a rule"),
    (
        {"tests/rooms.txt": GOOD["tests/rooms.txt"].replace("main -> a", "main -> a e?")},
        "rooms.txt:1: room 'e' has no line of its own",
    ),
]


def check(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return subprocess.run(
            [sys.executable, CHECK, "--root", folder], capture_output=True, text=True
        )


class CheckRooms(unittest.TestCase):
    def test_good_tree(self):
        run = check(GOOD)
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_promised_arrow(self):
        rules = GOOD["tests/rooms.txt"].replace("a -> b", "a -> b?")
        run = check({**GOOD, "include/vds/a.h": "\n", "tests/rooms.txt": rules})
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_bad_trees(self):
        for change, message in BAD:
            with self.subTest(message):
                run = check({**GOOD, **change})
                self.assertEqual(run.returncode, 1)
                self.assertIn(message, run.stderr)


if __name__ == "__main__":
    unittest.main()
