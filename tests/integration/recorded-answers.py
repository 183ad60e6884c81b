#!/usr/bin/env python3
"""Every answer that QEMU 7.2 gave for a real guest's rings comes back the same.

The split recording: all answers, the only differences being those that
tests/golden/level.txt lists. The packed one: status and queue status likewise; the
elements, which QEMU refuses, against an independent decoder of the same file.
--update rewrites level.txt.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import recording
from vds import Daemon, ROOT, equal, run

RINGS = ROOT / "tests" / "golden" / "rings"
LEVEL = ROOT / "tests" / "golden" / "level.txt"


def leaves(value, path=""):
    """Every member that is no object, by its path; lists are compared whole."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
        if not value:
            yield path, value
    else:
        yield path, value


def differences(recorded, answered):
    old, new = dict(leaves(recorded)), dict(leaves(answered))
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path) and (path in old) == (path in new):
            continue
        yield path, old.get(path, "(absent)"), new.get(path, "(absent)")


def describe(path, old, new):
    """Lists, and texts of several lines, by what came and went: the file stays readable."""
    if isinstance(old, str) and "\r\n" in old and isinstance(new, str):
        old, new = old.split("\r\n"), new.split("\r\n")
    if isinstance(old, list) and isinstance(new, list):
        kept_old = [x for x in old if x in new]
        kept_new = [x for x in new if x in old]
        if kept_old == kept_new:
            return [f"{path}: - {x}" for x in old if x not in new] + \
                   [f"{path}: + {x} at {i}" for i, x in enumerate(new) if x not in old]
    return [f"{path}: {json.dumps(old)} -> {json.dumps(new)}"]


def request_name(request):
    arguments = request.get("arguments", {})
    return " ".join([request["execute"]] + [str(v) for v in arguments.values()])


def ask_all(variant, rows):
    found = []
    with Daemon("-device", f"virtio-replay,id=old,file={RINGS / variant}.vds") as daemon:
        client = daemon.client()
        for row in rows:
            answered = client.ask(row["req"])
            for difference in differences(row["rep"], answered):
                found += [f"{variant} {request_name(row['req'])}: {line}"
                          for line in describe(*difference)]
    return found


def rows_of(name):
    return json.loads((RINGS / f"{name}.json").read_text())


def all_differences():
    return [line for variant in ("split", "packed", "vhost-net")
            for line in ask_all(variant, rows_of(f"{variant}-replies"))]


def listed():
    return [line for line in LEVEL.read_text().splitlines()
            if line and not line.startswith("#")]


def test_every_difference_is_listed():
    equal(all_differences(), listed())


def test_the_recording_is_large_enough_to_mean_something():
    rows = rows_of("split-replies")
    commands = {row["req"]["execute"] for row in rows}
    assert len(rows) > 200, len(rows)
    assert commands >= {"x-query-virtio-status", "x-query-virtio-queue-status",
                        "x-query-virtio-queue-element"}, commands


def test_packed_elements_as_an_independent_decoder_reads_them():
    decoded = subprocess.run([sys.executable, RINGS / "packed_decoder.py", RINGS / "packed.vds"],
                             check=True, capture_output=True).stdout
    rows = json.loads(decoded)
    assert len(rows) > 500, len(rows)
    equal(ask_all("packed", rows), [])


def test_asking_changes_nothing():
    rows = rows_of("split-replies")
    with Daemon("-device", f"virtio-replay,id=old,file={RINGS / 'split.vds'}") as daemon:
        client = daemon.client()
        first = [client.ask(row["req"]) for row in rows]
        second = [client.ask(row["req"]) for row in reversed(rows)]
        equal(first, second[::-1])


HEAD = """\
# Every difference between our answers and those that QEMU 7.2 gave for the same rings; the
# test recorded-answers.py holds that nothing else differs. `+ X at N`: X is new at place N of
# the list; `- X`: it is gone. There are two kinds:
#
#   Names are those of 8.2 and later: bit 40 has one (VIRTIO_F_RING_RESET), vhost-user
#   protocol bits 5, 10 and 16 have others. A device without a bus has an empty bus_name for
#   people, too.
#   The second round of status answers was recorded after the element queries, and these had
#   made QEMU mark net0 and blk0 as broken (NEEDS_RESET, isr bit 1). A query of ours changes
#   nothing, so there they are as they were.
"""


def update():
    LEVEL.write_text(HEAD + "\n".join(all_differences()) + "\n")


def test_feature_words_are_numbers():
    """Bits 64 to 127, too, which no reply has."""
    words = {"host-features": 1 << 32 | 1 << 54, "host-features-2": 0x1E, "guest-features": 1 << 32,
             "guest-features-2": 0x2}
    with tempfile.TemporaryDirectory() as folder:
        made = recording.write(pathlib.Path(folder), recording.device(
            "x0", recording.split_ring(4), **{"device-id": 1, **words}))
        with Daemon("-device", f"virtio-replay,file={made}") as daemon:
            client = daemon.client()
            for name, value in words.items():
                found = client.command("qom-get", path=recording.path("x0"), property=name)
                equal(found, value, name)


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        update()
    else:
        run(test_every_difference_is_listed, test_feature_words_are_numbers,
            test_the_recording_is_large_enough_to_mean_something,
            test_packed_elements_as_an_independent_decoder_reads_them,
            test_asking_changes_nothing)
