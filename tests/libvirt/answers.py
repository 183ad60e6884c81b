#!/usr/bin/env python3
"""A domain in plain XML: all five commands and the human monitor answer, with live values."""

from host import Host, contains, equal, run, until

NAMES = {"net0": "virtio-net", "virtio-disk0": "virtio-blk", "rng0": "virtio-rng",
         "virtio-serial0": "virtio-serial", "balloon0": "virtio-balloon"}
PATHS = {alias: f"/machine/peripheral/{alias}/virtio-backend" for alias in NAMES}
ALIVE = {"ACKNOWLEDGE", "DRIVER", "FEATURES_OK", "DRIVER_OK"}
# A queue that the guest keeps filled: how many of its buffers wait for the device.
FILLED = {"net0": (0, 256), "virtio-serial0": (2, 32)}


def words(flags):
    return {flag.split(":")[0].removeprefix("VIRTIO_CONFIG_S_") for flag in flags}


def alive(host, alias):
    status = host.monitor("plain", "x-query-virtio-status", path=PATHS[alias])
    return status if words(status["status"]["statuses"]) == ALIVE else None


def check_queue(host, alias, number):
    queue = host.monitor("plain", "x-query-virtio-queue-status", path=PATHS[alias], queue=number)
    equal((queue["name"], queue["queue-index"]), (NAMES[alias], number))
    assert queue["vring-desc"] and queue["vring-avail"] and queue["vring-used"], queue
    equal((queue["used-idx"] + queue["inuse"] - queue["last-avail-idx"]) & 0xffff, 0)


def check_element(host, alias, number, filled):
    element = host.monitor("plain", "x-query-virtio-queue-element", path=PATHS[alias], queue=number)
    waiting = element["avail"]["idx"] - element["used"]["idx"]
    equal((element["name"], waiting), (NAMES[alias], filled))
    equal(element["descs"][0]["flags"], ["write"])


def check_monitor(host):
    lines = host.hmp("plain", "info virtio").splitlines()
    for alias, name in NAMES.items():
        equal(sum(PATHS[alias] in line and name in line for line in lines), 1, alias)
    text = host.hmp("plain", f"info virtio-status {PATHS['net0']}")
    contains(text, "device_name:", "virtio-net", "DRIVER_OK")
    contains(host.hmp("plain", f"info virtio-queue-status {PATHS['net0']} 0"), "VRing:")
    contains(host.hmp("plain", f"info virtio-queue-element {PATHS['net0']} 0"), "desc")


def test_answers():
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        listed = host.monitor("plain", "x-query-virtio")
        equal({row["path"]: row["name"] for row in listed},
              {PATHS[alias]: NAMES[alias] for alias in NAMES})
        for alias in NAMES:
            status = until(lambda alias=alias: alive(host, alias), f"{alias} is driven")
            equal((status["name"], status["started"], status["broken"]),
                  (NAMES[alias], True, False))
            check_queue(host, alias, 0)
            reply = host.ask("plain", {"execute": "x-query-virtio-vhost-queue-status",
                                       "arguments": {"path": PATHS[alias], "queue": 0}})
            equal(reply["error"]["class"], "GenericError")
        for alias, (number, filled) in FILLED.items():
            check_element(host, alias, number, filled)
        check_monitor(host)


def test_what_the_xml_says():
    """The interface's address is the device's, the console a pty, the agent's channel
    nobody's; pretty and bare replies."""
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        equal(host.monitor("plain", "qom-get", path="/machine/peripheral/net0", property="mac"),
              "52:54:00:12:34:56")
        contains(host.virsh("dumpxml", "plain"), "<alias name='net0'/>", "pty",
                 "name='org.qemu.guest_agent.0' state='disconnected'")
        contains(host.virsh("qemu-monitor-command", "plain", "--pretty",
                            '{"execute": "query-name"}'), '"name": "plain"')
        equal(host.virsh("qemu-monitor-command", "plain", "--return-value",
                         '{"execute": "query-name"}'), '{"name":"plain"}')


run(test_answers, test_what_the_xml_says)
