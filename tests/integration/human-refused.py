#!/usr/bin/env python3
"""What the human monitor says to lines that it cannot serve, and to none at all."""

from vds import Daemon, equal, run

PATH = "/machine/peripheral/r0/virtio-backend"


def try_help(name):
    return f'Try "help {name}" for more information\r\n'


ROWS = {
    "": "",
    "  \t ": "",
    "nosuch": "unknown command: 'nosuch'\r\n",
    "info balloon": "Error: No balloon device has been activated\r\n",
    "info nosuch": "unknown command: 'info nosuch'\r\n",
    "INFO virtio": "unknown command: 'INFO'\r\n",
    "help nosuch": "unknown command: 'nosuch'\r\n",
    "help info nosuch": "unknown command: 'info nosuch'\r\n",
    "info virtio-status": "virtio-status: string expected\r\n"
                          + try_help("info virtio-status"),
    'info virtio-status "x': "virtio-status: string expected\r\n"
                             + try_help("info virtio-status"),
    'info virtio-status "a\\tb"': "virtio-status: string expected\r\n"
                                 + try_help("info virtio-status"),
    'info virtio-status "a\\': "virtio-status: string expected\r\n"
                              + try_help("info virtio-status"),
    'info virtio-status "\\"\\\\"': 'Error: Path "\\ is not a realized VirtIODevice\r\n',
    "q x": "quit|q: extraneous characters at the end of line\r\n" + try_help("q"),
    "info virtio x": "virtio: extraneous characters at the end of line\r\n"
                     + try_help("info virtio"),
    f"info virtio-queue-status {PATH}": "unexpected end of expression\r\n"
                                        + try_help("info virtio-queue-status"),
    f"info virtio-queue-status {PATH} x": "invalid char 'x' in expression\r\n"
                                          + try_help("info virtio-queue-status"),
    f"info virtio-queue-status {PATH} 0x":
        "virtio-queue-status: extraneous characters at the end of line\r\n"
        + try_help("info virtio-queue-status"),
    f"info virtio-queue-status {PATH} 08":
        "virtio-queue-status: extraneous characters at the end of line\r\n"
        + try_help("info virtio-queue-status"),
    f"info virtio-queue-status {PATH} 0 1":
        "virtio-queue-status: extraneous characters at the end of line\r\n"
        + try_help("info virtio-queue-status"),
    f"info virtio-queue-status {PATH} 18446744073709551616":
        "number too large\r\n" + try_help("info virtio-queue-status"),
    f"info virtio-queue-status {PATH} -1":
        "'virtio-queue-status' has failed: integer is for 32-bit values\r\n"
        + try_help("info virtio-queue-status"),
    f"info virtio-queue-status {PATH} 4294967296":
        "'virtio-queue-status' has failed: integer is for 32-bit values\r\n"
        + try_help("info virtio-queue-status"),
    # QEMU reads queue 0.
    f"info virtio-queue-status {PATH} 65536": "Error: Invalid virtqueue number 65536\r\n",
    f"info virtio-queue-element {PATH} 65536": "Error: Invalid virtqueue number 65536\r\n",
    f"info virtio-queue-element {PATH} 0 x": "invalid char 'x' in expression\r\n"
                                             + try_help("info virtio-queue-element"),
    f"info virtio-queue-element {PATH} 0": "Error: Region caches not initialized\r\n",
    # QEMU says Error twice.
    f"info virtio-vhost-queue-status {PATH} 0":
        "Error: vhost device has not started yet\r\n",
    "info virtio-status nope": "Error: Path nope is not a realized VirtIODevice\r\n",
    "info virtio-queue-status nope 0": "Error: Path nope is not a VirtIODevice\r\n",
    "info virtio-queue-element nope 0": "Error: Path nope is not a VirtIO device\r\n",
    "device_del nope": "Error: Device 'nope' not found\r\n",
    "device_del r0 y": "device_del: extraneous characters at the end of line\r\n"
                       + try_help("device_del"),
    "device_del": "device_del: string expected\r\n" + try_help("device_del"),
}


def test_each_line():
    with Daemon("-device", "virtio-rng-pci,id=r0,guest=none") as daemon:
        client = daemon.client()
        for line, expected in ROWS.items():
            equal(client.hmp(line), expected, line)


def test_no_devices():
    with Daemon() as daemon:
        client = daemon.client()
        equal(client.hmp("info virtio"), "No VirtIO devices\r\n")
        equal(client.command("x-query-virtio"), [])


def test_numbers_in_three_bases_and_quoted_words():
    with Daemon("-S", "-device", "virtio-serial-pci,id=s") as daemon:  # nothing moves
        client = daemon.client()
        where = "/machine/peripheral/s/virtio-backend"
        ten = client.hmp(f"info virtio-queue-status {where} 10")
        assert "queue_index:          10\r\n" in ten, ten
        for line in (f"info virtio-queue-status {where} 0xA",
                     f"info virtio-queue-status {where} 012",
                     f'  info\tvirtio-queue-status  "{where}"   10  '):
            equal(client.hmp(line), ten, line)


def test_deleted_by_hand():
    with Daemon("-device", "virtio-rng-pci,id=r0,guest=none") as daemon:
        client = daemon.client()
        equal(client.hmp("device_del r0"), "")
        equal([client.event("DEVICE_DELETED")["data"] for _ in range(2)],
              [{"path": PATH}, {"device": "r0", "path": "/machine/peripheral/r0"}])
        equal(client.hmp("info virtio"), "No VirtIO devices\r\n")


if __name__ == "__main__":
    run(test_each_line, test_no_devices, test_numbers_in_three_bases_and_quoted_words,
        test_deleted_by_hand)
