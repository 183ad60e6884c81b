#!/usr/bin/env python3
"""Every way to ask the five queries wrongly, with class and text: arguments in the schema's
order, then the path, the queue, and the rest; and nothing is changed by it."""

import json
import pathlib
import tempfile

from recording import device, packed_ring, path, split_ring, write
from vds import Daemon, equal, run

RNG, QUEUES, RUNNING = "/machine/peripheral/r0/virtio-backend", path("queues"), path("vhost")
STATUS, QUEUE, VHOST, ELEMENT = (f"x-query-virtio-{what}" for what in (
    "status", "queue-status", "vhost-queue-status", "queue-element"))
NO_DEVICE = {STATUS: "Path {} is not a realized VirtIODevice",
             QUEUE: "Path {} is not a VirtIODevice", VHOST: "Path {} is not a VirtIODevice",
             ELEMENT: "Path {} is not a VirtIO device"}
NO_PATHS = ["", "/", "nonesuch", "/machine/peripheral/r0", "r0", "virtio-backend",
            "/machine/peripheral", "r0/virtio-backend/x", "/r0/virtio-backend", "é"]

MISSING = "Parameter '{}' is missing"
UNEXPECTED = "Parameter '{}' is unexpected"
NO_STRING = "Invalid parameter type for '{}', expected: string"
NO_UINT64 = "Parameter '{}' expects uint64"
NO_UINT16 = "Parameter '{}' expects uint16_t"
INVALID = "Invalid virtqueue number {}"
INVALID_VHOST = "Invalid vhost virtqueue number {}"
NOT_STARTED = "Error: vhost device has not started yet"

# command, arguments as text, the error's text
ARGUMENTS = [
    (STATUS, "{}", MISSING.format("path")),
    (STATUS, '{"queue": 0}', MISSING.format("path")),  # missing wins over unexpected
    (STATUS, '{"path": "x", "index": 0}', UNEXPECTED.format("index")),
    ("x-query-virtio", '{"path": "x"}', UNEXPECTED.format("path")),
    (QUEUE, '{"queue": 0}', MISSING.format("path")),
    (QUEUE, '{"path": "x"}', MISSING.format("queue")),
    (QUEUE, '{"queue": "x"}', MISSING.format("path")),
    (VHOST, '{"path": "x"}', MISSING.format("queue")),
    (VHOST, '{"path": "x", "queue": 0, "index": 0}', UNEXPECTED.format("index")),
    (ELEMENT, '{"path": "x"}', MISSING.format("queue")),
    (ELEMENT, '{"path": 1, "queue": "x"}', NO_STRING.format("path")),
    (ELEMENT, '{"path": "x", "queue": -1, "index": "x"}', NO_UINT16.format("queue")),
    (ELEMENT, '{"path": "x", "queue": 0, "index": {}}', NO_UINT64.format("index")),
    (ELEMENT, '{"path": "x", "queue": 0, "index": 65536}', NO_UINT16.format("index")),
    (ELEMENT, '{"path": "x", "queue": 0, "x": 1}', UNEXPECTED.format("x")),
] + [
    (STATUS, f'{{"path": {value}}}', NO_STRING.format("path"))
    for value in ("null", "1", "true", "{}", "[]", "1.5")
] + [
    (command, f'{{"path": "x", "queue": {value}}}', text.format("queue"))
    for command in (QUEUE, VHOST, ELEMENT) for value, text in (
        ("null", NO_UINT64), ('"0"', NO_UINT64), ("false", NO_UINT64), ("0.0", NO_UINT64),
        ("[]", NO_UINT64), ("18446744073709551616", NO_UINT64), ("-1", NO_UINT16),
        ("65536", NO_UINT16), ("18446744073709551615", NO_UINT16))
]

# The path is right; `queues` has 8, 0 and 4 entries, `vhost` runs queues 1 to 3 of 5, the
# last of which has size 0.
LATER = [(command, RNG, queue, INVALID.format(queue))
         for command in (QUEUE, ELEMENT) for queue in (1, 1023, 1024, 65535)] + [
    (QUEUE, QUEUES, 1, INVALID.format(1)), (ELEMENT, QUEUES, 1, INVALID.format(1)),
    (ELEMENT, RNG, 0, "Region caches not initialized"),
    (VHOST, RNG, 0, NOT_STARTED), (VHOST, RNG, 65535, NOT_STARTED),
    (VHOST, RUNNING, 0, INVALID_VHOST.format(0)), (VHOST, RUNNING, 4, INVALID_VHOST.format(4)),
    (VHOST, RUNNING, 5, INVALID_VHOST.format(5)), (QUEUE, RUNNING, 3, INVALID.format(3)),
    (ELEMENT, RUNNING, 3, INVALID.format(3)),
    (VHOST, RUNNING, 65535, INVALID_VHOST.format(65535)),
]


def recordings(folder):
    queues = device("queues", split_ring(8))
    first = queues["body"]["queues"][0]
    queues["body"]["queues"] += [{**first, "num": 0, "num-default": 0},
                                 {**first, "num": 4, "num-default": 4}]
    vhost = device("vhost", packed_ring(8))
    first = vhost["body"]["queues"][0]
    running = {**first, "vhost": {"kick": 7, "call": 8, "desc": 1, "avail": 2, "used": 3}}
    empty = {**running, "num": 0}
    vhost["body"]["queues"] = [first, running, running, empty, first]
    vhost["body"]["vhost"] = {
        "nvqs": 3, "vq-index": 1, "n-mem-sections": 1, "n-tmp-sections": 1, "features": 0,
        "acked-features": 0, "backend-features": 0, "protocol-features": 0, "max-queues": 4,
        "backend-cap": 0, "log-enabled": False, "log-size": 0}
    return write(folder, queues, vhost)


class Asked(Daemon):
    def __init__(self):
        with tempfile.TemporaryDirectory(prefix="vds-") as folder:
            file = recordings(pathlib.Path(folder))
            super().__init__("-device", "virtio-rng-pci,id=r0,guest=none",
                             "-device", "virtio-rng-pci",
                             "-device", f"virtio-replay,id=made,file={file}")


def refusal(client, command, arguments):
    client.send(f'{{"execute": "{command}", "arguments": {arguments}}}\n')
    return client.reply()


def error(desc):
    return {"error": {"class": "GenericError", "desc": desc}}


def test_arguments():
    with Asked() as daemon:
        client = daemon.client()
        for command, arguments, desc in ARGUMENTS:
            equal(refusal(client, command, arguments), error(desc), (command, arguments))


def test_no_device():
    with Asked() as daemon:
        client = daemon.client()
        for command, text in NO_DEVICE.items():
            for where in NO_PATHS:
                # 65535: the path is looked at before the queue.
                queue = {} if command == STATUS else {"queue": 65535}
                equal(refusal(client, command, json.dumps({"path": where, **queue})),
                      error(text.format(where)), (command, where))


def test_queue_and_the_rest():
    with Asked() as daemon:
        client = daemon.client()
        for command, where, queue, desc in LATER:
            equal(refusal(client, command, json.dumps({"path": where, "queue": queue})),
                  error(desc), (command, where, queue))


def test_each_queue_of_the_vhost_device_is_shown():
    with Asked() as daemon:
        client = daemon.client()
        for queue in (1, 2):
            shown = client.command(VHOST, path=RUNNING, queue=queue)
            equal((shown["kick"], shown["call"], shown["num"]), (7, 8, 8))
            # A packed ring's areas: 16 bytes a descriptor, 4 an event area.
            equal([shown[f"{area}-size"] for area in ("desc", "avail", "used")], [128, 4, 4])
        # The range decides, as in QEMU, and not the size.
        shown = client.command(VHOST, path=RUNNING, queue=3)
        equal((shown["kick"], shown["num"], shown["desc-size"]), (7, 0, 0))


def test_a_queue_behind_one_that_is_not_there():
    with Asked() as daemon:
        client = daemon.client()
        equal(client.command(STATUS, path=QUEUES)["num-vqs"], 1)
        equal(client.command(QUEUE, path=QUEUES, queue=2)["vring-num"], 4)


def test_long_paths_are_cut_in_the_text():
    long = "/machine/" + "é" * 5000
    with Asked() as daemon:
        client = daemon.client()
        for command, text in NO_DEVICE.items():
            queue = {} if command == STATUS else {"queue": 0}
            # 128 bytes, less half a character.
            equal(refusal(client, command, json.dumps({"path": long, **queue})),
                  error(text.format("/machine/" + "é" * 59)), command)


def test_nothing_has_changed():
    with Asked() as daemon:
        client = daemon.client()

        def look():
            return [client.command(STATUS, path=row["path"])
                    for row in client.command("x-query-virtio")]

        before = look()
        for command, arguments, _ in ARGUMENTS:
            refusal(client, command, arguments)
        for command, where, queue, _ in LATER:
            refusal(client, command, json.dumps({"path": where, "queue": queue}))
        equal(look(), before)


if __name__ == "__main__":
    run(test_arguments, test_no_device, test_queue_and_the_rest,
        test_each_queue_of_the_vhost_device_is_shown,
        test_a_queue_behind_one_that_is_not_there, test_long_paths_are_cut_in_the_text,
        test_nothing_has_changed)
