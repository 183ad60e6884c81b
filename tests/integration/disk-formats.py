#!/usr/bin/env python3
"""A -drive without format= never writes into the container of another format, and no image
is written to where an overlay was asked for."""

import pathlib
import subprocess
import tempfile

from vds import Daemon, daemon_path, equal, run

HEADS = [
    ("qcow", 0, b"QFI\xfb\0\0\0\1"),
    ("qcow2", 0, b"QFI\xfb\0\0\0\2"),
    ("qcow2", 0, b"QFI\xfb\0\0\0\3"),
    ("qed", 0, b"QED\0"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vmdk", 0, b"# Disk DescriptorFile\nversion=1\n"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
    ("vhdx", 0, b"vhdxfile"),
    ("vpc", 0, b"conectix"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("parallels", 0, b"WithoutFreeSpace"),
    ("parallels", 0, b"WithouFreSpacExt"),
    ("bochs", 0, b"Bochs Virtual HD Image\0"),
    ("cloop", 0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0"),
    ("dmg", -512, b"koly"),
]
NOT = [(0, b"QFI\xfb\0\0\0\4"), (0, b"qcow2"), (63, b"\x7f\x10\xda\xbe"), (512, b"koly"), (0, b"")]
DEVICES = ("virtio-blk-pci,drive=d", "scsi-hd,drive=d,bus=s.0")


def image(folder, at, magic):
    data = bytearray(65536)
    at %= len(data)
    data[at:at + len(magic)] = magic
    path = pathlib.Path(folder) / "disk"
    path.write_bytes(data)
    return path


def refused(path, words, device, *named):
    before = path.read_bytes()
    done = subprocess.run([daemon_path(), "-qmp", f"unix:{path.parent}/qmp,server=on,wait=off",
                           "-device", "virtio-scsi-pci,id=s", "-drive", words, "-device", device],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    equal((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
    for word in named:
        assert word in done.stderr, (word, done.stderr)
    equal(path.read_bytes(), before, "the file")


def accepted(words):
    for device in DEVICES:
        with Daemon("-device", "virtio-scsi-pci,id=s", "-drive", words, "-device", device):
            pass


def test_other_formats_are_refused():
    for name, at, magic in HEADS:
        with tempfile.TemporaryDirectory(prefix="vds-") as folder:
            path = image(folder, at, magic)
            for device in DEVICES:
                refused(path, f"file={path},id=d,if=none", device, f"'{name}'", "format=raw", str(path))


def test_raw_is_accepted_and_raw_where_asked():
    with tempfile.TemporaryDirectory(prefix="vds-") as folder:
        for at, magic in NOT:
            accepted(f"file={image(folder, at, magic)},id=d,if=none")
        path = pathlib.Path(folder) / "empty"
        path.write_bytes(b"QFI\xfb")
        with Daemon("-drive", f"file={path},id=d,if=none", "-device", DEVICES[0]):
            pass  # too short for a magic number
        for _, at, magic in HEADS:
            accepted(f"file={image(folder, at, magic)},id=d,if=none,format=raw")


def test_no_overlay_is_promised():
    with tempfile.TemporaryDirectory(prefix="vds-") as folder:
        path = image(folder, 0, b"")
        for device in DEVICES:
            for words in (f"file={path}", f"file={path},format=raw", f"driver=file,filename={path}"):
                refused(path, words + ",id=d,if=none,snapshot=on", device, "'snapshot=on'")
        accepted(f"file={path},id=d,if=none,format=raw,snapshot=off")


if __name__ == "__main__":
    run(test_other_formats_are_refused, test_raw_is_accepted_and_raw_where_asked,
        test_no_overlay_is_promised)
