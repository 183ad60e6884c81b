#!/usr/bin/env python3
"""A recording that contradicts itself is refused in one line with file and member; what is
already there stays, and the daemon lives."""

import copy
import json
import os
import pathlib
import tempfile

from vds import Daemon, QmpError, ROOT, equal, run

RINGS = ROOT / "tests" / "golden" / "rings"
GOOD = json.loads((RINGS / "handmade.vds").read_text())
PAGES = GOOD["memories"][0]["regions"][0]["file"]


def mutate(change):
    snapshot = copy.deepcopy(GOOD)
    change(snapshot)
    return json.dumps(snapshot)


def first_device(snapshot):
    return snapshot["devices"][0]


def first_queue(snapshot):
    return next(queue for queue in first_device(snapshot)["queues"] if queue["num"])


def put(target, **members):
    target.update({name.replace("_", "-"): value for name, value in members.items()})


VHOST = {"nvqs": 1, "vq-index": 0, "n-mem-sections": 1, "n-tmp-sections": 1, "features": 0,
         "acked-features": 0, "backend-features": 0, "protocol-features": 0, "max-queues": 1,
         "backend-cap": 0, "log-enabled": False, "log-size": 0}

# What is done to a good recording, and what the refusal must say.
REFUSED = {
    "no JSON": ("{", "premature EOI"),
    "empty file": ("", "Expecting a JSON value"),
    "text behind it": (json.dumps(GOOD) + "x", "at most one JSON value"),
    "a list": ("[]", "expected: object"),
    "deep nesting": ("[" * 5000, "nesting depth"),
    "unknown member": (mutate(lambda s: put(s, extra=1)), "'extra' is unexpected"),
    "unknown member of a queue": (mutate(lambda s: put(first_queue(s), extra=1)),
                                  "extra' is unexpected"),
    "missing member": (mutate(lambda s: first_device(s).pop("isr")), "isr' is missing"),
    "other format": (mutate(lambda s: put(s, format="tar")), "'format' is 'tar'"),
    "other version": (mutate(lambda s: put(s, version=2)), "'version' is 2, expected 1"),
    "number out of range": (mutate(lambda s: put(first_device(s), status=256)),
                            "expects uint8_t"),
    "no memory": (mutate(lambda s: put(first_device(s), memory="rom")),
                  "memory 'rom' is not in the file"),
    "memory twice": (mutate(lambda s: s["memories"].append(s["memories"][0])),
                     "is there twice"),
    "overlap": (mutate(lambda s: s["memories"][0]["regions"].append(
        s["memories"][0]["regions"][0])), "overlap"),
    "region too long": (mutate(lambda s: put(s["memories"][0]["regions"][0], len=1 << 20)),
                        "is too short"),
    "regions too many": (mutate(lambda s: put(s["memories"][0], regions=[
        {"gpa": i * 4096, "len": 1, "file": PAGES, "offset": 0} for i in range(8193)])),
                         "more than 8192 regions"),
    "regions too large together": (mutate(lambda s: s["memories"].extend(
        {"id": f"m{i}", "regions": [{"gpa": 0, "len": 200 << 20, "file": "sparse.bin",
                                     "offset": 0}]} for i in range(2))),
                                   "more than 268435456 bytes"),
    "region wraps": (mutate(lambda s: put(s["memories"][0]["regions"][0],
                                          offset=(1 << 64) - 1)), "is too short"),
    "file elsewhere": (mutate(lambda s: put(s["memories"][0]["regions"][0],
                                            file="../outside.bin")),
                       "outside the recording's folder"),
    "file by a link elsewhere": (mutate(lambda s: put(s["memories"][0]["regions"][0],
                                                      file="link.bin")),
                                 "outside the recording's folder"),
    "absolute file": (mutate(lambda s: put(s["memories"][0]["regions"][0],
                                           file="/etc/passwd")), "not a relative name"),
    "no such file": (mutate(lambda s: put(s["memories"][0]["regions"][0], file="no.bin")),
                     "cannot open file 'no.bin'"),
    "a FIFO": (mutate(lambda s: put(s["memories"][0]["regions"][0], file="fifo")),
               "not a regular file"),
    "relative path": (mutate(lambda s: put(first_device(s), path="net0")), "net0"),
    "a path among objects": (mutate(lambda s: put(first_device(s), path="/objects/foo")),
                             "is not one a device can have"),
    "a path below chardevs": (mutate(lambda s: put(first_device(s), path="/chardevs/a/b")),
                              "is not one a device can have"),
    "a path where devices are": (mutate(lambda s: put(first_device(s), path="/machine/peripheral")),
                                 "exists already"),
    "vhost without its queues": (mutate(lambda s: put(first_device(s), vhost=VHOST)),
                                 "vhost part is missing"),
    "ring too large": (mutate(lambda s: put(first_queue(s), num=65536)), "65536"),
}


def refusal(name, text):
    with tempfile.TemporaryDirectory(prefix="vds-") as folder:
        inner = pathlib.Path(folder) / "in"
        inner.mkdir()
        (pathlib.Path(folder) / "outside.bin").write_bytes(b"x" * 4096)
        (inner / "link.bin").symlink_to("../outside.bin")
        os.mkfifo(inner / "fifo")
        (inner / "sparse.bin").touch()
        os.truncate(inner / "sparse.bin", 200 << 20)
        (inner / PAGES).write_bytes((RINGS / PAGES).read_bytes())
        (inner / "bad.vds").write_text(text)
        with Daemon("-device", f"virtio-replay,id=first,file={RINGS / 'split.vds'}") as daemon:
            client = daemon.client()
            before = client.command("x-query-virtio")
            try:
                client.command("device_add", driver="virtio-replay", id="old",
                               file=str(inner / "bad.vds"))
            except QmpError as error:
                message = error
            else:
                raise AssertionError(f"{name}: loaded")
            # Nothing of it is left, and the id is free again.
            equal(client.command("x-query-virtio"), before)
            client.command("device_add", driver="virtio-replay", id="old",
                           file=str(RINGS / "handmade.vds"))
    equal(message.cls, "GenericError")
    return message.desc


def test_each_contradiction_is_refused_by_name():
    wrong = []
    for name, (text, expected) in REFUSED.items():
        desc = refusal(name, text)
        if expected not in desc or "bad.vds: " not in desc or "\n" in desc:
            wrong.append(f"{name}: {desc!r} does not say {expected!r} or the file")
    equal(wrong, [])


def test_a_path_that_is_there_refuses_the_load():
    with Daemon("-device", f"virtio-replay,id=one,file={RINGS / 'split.vds'}") as daemon:
        client = daemon.client()
        before = client.command("x-query-virtio")
        try:
            client.command("device_add", driver="virtio-replay", id="two",
                           file=str(RINGS / "split.vds"))
        except QmpError as error:
            assert before[0]["path"] in error.desc or before[-1]["path"] in error.desc, error
        else:
            raise AssertionError("loaded twice")
        equal(client.command("x-query-virtio"), before)


def test_a_prefix_makes_room_for_a_second_recording():
    with Daemon("-device", f"virtio-replay,id=one,file={RINGS / 'split.vds'}", "-device",
                f"virtio-replay,id=two,file={RINGS / 'packed.vds'},prefix=/old") as daemon:
        client = daemon.client()
        paths = [row["path"] for row in client.command("x-query-virtio")]
        equal(len(paths), 12)
        equal([p.startswith("/old/machine/") for p in paths], [True] * 6 + [False] * 6)
        client.command("device_del", id="two")
        equal([row["path"] for row in client.command("x-query-virtio")], paths[6:])


def test_a_prefix_among_objects_is_refused():
    with Daemon() as daemon:
        client = daemon.client()
        for top in ("/objects", "/chardevs"):
            before = client.command("qom-list", path=top)
            try:
                client.command("device_add", driver="virtio-replay", id="one",
                               file=str(RINGS / "split.vds"), prefix=top)
            except QmpError as error:
                assert "is not one a device can have" in error.desc, error
            else:
                raise AssertionError("loaded")
            equal(client.command("qom-list", path=top), before)


def test_a_recorded_name_is_taken():
    """A device of that id would be there twice."""
    with Daemon("-device", f"virtio-replay,id=one,file={RINGS / 'split.vds'}") as daemon:
        client = daemon.client()
        recorded = client.command("x-query-virtio")[0]["path"].split("/")[3]
        try:
            client.command("device_add", driver="virtio-rng-pci", id=recorded)
        except QmpError as error:
            equal(error.desc, f"Duplicate device ID '{recorded}'")
        else:
            raise AssertionError("added")
        client.command("device_del", id="one")
        client.command("device_add", driver="virtio-rng-pci", id=recorded)
        client.command("device_del", id=recorded)


def test_run_state_does_not_touch_it():
    with Daemon("-S", "-device", f"virtio-replay,id=one,file={RINGS / 'split.vds'}") as daemon:
        client = daemon.client()

        def look():
            return [client.command("x-query-virtio-status", path=row["path"])
                    for row in client.command("x-query-virtio")]

        before = look()
        for command in ("cont", "stop", "system_reset", "cont"):
            client.command(command)
            equal(look(), before, command)


def test_bad_recording_on_the_command_line_ends_the_start():
    with Daemon("-device", "virtio-replay,id=one,file=/nonexistent.vds", qmp=False,
                expect_exit=1) as daemon:
        daemon.proc.wait(20)
        lines = daemon.stderr().splitlines()
        equal(len(lines), 1, lines)
        assert "/nonexistent.vds" in lines[0], lines


if __name__ == "__main__":
    run(test_each_contradiction_is_refused_by_name,
        test_a_path_that_is_there_refuses_the_load,
        test_a_prefix_makes_room_for_a_second_recording,
        test_a_prefix_among_objects_is_refused, test_a_recorded_name_is_taken,
        test_run_state_does_not_touch_it,
        test_bad_recording_on_the_command_line_ends_the_start)
