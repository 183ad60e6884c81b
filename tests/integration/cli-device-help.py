#!/usr/bin/env python3
"""`-device help` lists every kind of device once, `-device DRIVER,help` its properties, as
QEMU prints them; and both end the program."""

import json
import pathlib
import shutil
import subprocess
import tempfile

from vds import Daemon, daemon_path, equal, run

QEMU = "qemu-system-x86_64"
PART_OF_BOARD = {"ICH9-LPC", "PIIX4_PM"}  # known by name; nobody can ask for one
NO_BUS = {"isa-serial"}  # QEMU's needs one


def program(*words, path=None):
    result = subprocess.run([path or daemon_path(), *words], capture_output=True, text=True,
                            timeout=60, check=False)
    return result.returncode, result.stdout, result.stderr


def explained(*words):
    status, out, err = program(*words)
    equal((status, err), (0, ""))
    return out


def by_name(text):
    """{name: (heading, line)} of a list."""
    found, heading = {}, None
    for line in text.splitlines():
        if line.endswith(" devices:"):
            heading = line
        elif line:
            name = line.split('"')[1]
            assert name not in found, name
            found[name] = (heading, line)
    return found


def test_the_list_is_complete():
    with Daemon("-S") as daemon:
        types = daemon.client().command("qom-list-types", implements="device")
    listed = by_name(explained("-device", "help"))
    equal(sorted(listed), sorted({t["name"] for t in types if not t.get("abstract")} - PART_OF_BOARD))
    equal(explained("-device", "?"), explained("-device", "help"))
    equal(listed["virtio-net-pci"],
          ("Network devices:", 'name "virtio-net-pci", bus PCI, alias "virtio-net"'))


def line_of(row):
    line = f"  {row['name']}=<{row['type']}>"
    if "description" in row or "default-value" in row:
        line = f"{line:<24} - {row.get('description', '')}"
    if "default-value" in row:
        line += f" (default: {json.dumps(row['default-value'])})"
    return line


def test_properties():
    with Daemon("-S") as daemon:
        client = daemon.client()
        for name in by_name(explained("-device", "help")):
            rows = client.command("device-list-properties", typename=name)
            lines = sorted(map(line_of, rows))
            head = f"{name} options:" if lines else f"There are no options for {name}."
            equal(explained("-device", f"{name},help").splitlines(), [head, *lines])


def test_where_help_may_stand():
    whole = explained("-device", "virtio-rng-pci,help")
    for words in ("virtio-rng,help", "virtio-rng-pci,?", "virtio-rng-pci,nope=1,help",
                  "virtio-rng-pci,help=off", "driver=virtio-rng-pci,help"):
        equal(explained("-device", words), whole)
    equal(explained("-device", "help,id=x"), explained("-device", "help"))
    # the first counts, and what else was asked for is not done
    with tempfile.TemporaryDirectory() as folder:
        equal(explained("-qmp", f"unix:{folder}/qmp,server=on,wait=off", "-pidfile", f"{folder}/pid",
                        "-device", "virtio-rng-pci,help", "-device", "help"), whole)
        equal(list(pathlib.Path(folder).iterdir()), [])


def test_refused():
    for words, why in (
            ("nope,help", "Device 'nope' not found"),
            ("virtio-pci,help", "Parameter 'typename' expects a non-abstract device type"),
            ('{"driver": "help"}', "'help' is not a valid device model name")):
        equal(program("-device", words), (1, "", f"virtio-debugd: -device {words}: {why}\n"))


def test_as_qemu():
    """What both list stands under the same heading, in the same words."""
    if not shutil.which(QEMU):
        print("# without QEMU: not compared")
        return
    theirs = by_name(program("-device", "help", path=QEMU)[1])
    ours = by_name(explained("-device", "help"))
    common = (set(ours) & set(theirs)) - NO_BUS
    assert len(common) > 50, common
    equal({name: ours[name] for name in common}, {name: theirs[name] for name in common})


if __name__ == "__main__":
    run(test_the_list_is_complete, test_properties, test_where_help_may_stand, test_refused,
        test_as_qemu)
