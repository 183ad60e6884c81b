#!/usr/bin/env python3
"""docs/libvirt.md does what it shows.

Its recipes (tests/lib/recipes.py) are typed one after the other by a user of qemu:///session
in a folder of their own; a block of XML that begins with a comment is the file it names.
"""

import re
import subprocess
import sys

from host import ROOT, TIMEOUT, Host, equal, run

sys.path.insert(0, str(ROOT / "tests/lib"))
import recipes  # noqa: E402 pylint: disable=wrong-import-position

PAGE = (ROOT / "docs/libvirt.md").read_text(encoding="utf-8")
FILE = re.compile(r"^```xml\n<!-- (\S+) -->\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALLED = "/usr/bin/virtio-debugd"


def test_recipes():
    with Host() as host:
        host.env.update(LIBVIRT_DEFAULT_URI="qemu:///session", EMULATOR=str(host.emulator))
        for name, text in FILE.findall(PAGE):
            text = text.replace(INSTALLED, str(host.emulator))
            host.file(name, text.replace("/var/tmp", str(host.dir)))
        found = list(recipes.of(PAGE))
        for typed, expected in found:
            typed = typed.replace("/var/tmp", str(host.dir))
            proc = host.command("bash", "-c", typed, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
            printed = proc.communicate(timeout=TIMEOUT)[0].replace(str(host.dir), "/var/tmp")
            recipes.check(typed, expected, re.sub(r"\n+$", "", printed))
        equal(len(found) > 10, True)
        equal(host.emulators(), [], "at the end of the page")


run(test_recipes)
