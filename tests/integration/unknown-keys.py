#!/usr/bin/env python3
"""Words that nobody reads are refused by name, on the command line and through QMP: a key of each
kind of part, of each of its types, at every depth of a block node, and a type of object."""

from vds import Daemon, equal, refused, run

KEY = "Invalid parameter '{}'"
PARTS = {  # option: (type, what else it needs)
    "-object": ("iothread", "rng-random", "rng-builtin", "secret", "throttle-group",
                "memory-backend-memfd,size=1M", "memory-backend-ram,size=1M",
                "cryptodev-backend-builtin"),
    "-netdev": ("user", "loop", "hubport,hubid=0"),
    "-blockdev": ("null-co", "file,filename=/dev/null", "raw,file.driver=null-co",
                  "throttle,throttle-group=g,file.driver=null-co"),
}
ID = {"-object": "id", "-netdev": "id", "-blockdev": "node-name"}
OTHERS = (
    ("-drive", "id=a,if=none,nonsense=1", "nonsense"),
    ("-drive", "id=a,if=none,throttling.nonsense=1", "throttling.nonsense"),
    ("-drive", "id=a,if=none,throttling.iops-total-max-lengthy=1", "throttling.iops-total-max-lengthy"),
    ("-drive", "id=a,if=none,file.driver=null-co,file.nonsense=1", "file.nonsense"),
    ("-blockdev", "driver=raw,node-name=a,file.driver=raw,file.file.driver=null-co,"
                  "file.file.filename=/x", "file.file.filename"),
    ("-chardev", "null,id=a,nonsense=1", "nonsense"),
    ("-mon", "chardev=a,nonsense=1", "nonsense"),
    ("-m", "64,nonsense=1", "nonsense"),
    ("-name", "a,nonsense=1", "nonsense"),
)


def said(option, value):
    daemon = Daemon(option, value, qmp=False, expect_exit=1)
    with daemon:
        daemon.proc.wait(10)
        return daemon.stderr()


def test_the_command_line():
    rows = [(option, f"{kind},{ID[option]}=a,nonsense=1", "nonsense")
            for option, kinds in PARTS.items() for kind in kinds]
    for option, value, key in [*rows, *OTHERS]:
        equal(said(option, value), f"virtio-debugd: {option} {value}: {KEY.format(key)}\n")
    equal(said("-object", "nosuch,id=a"), "virtio-debugd: -object nosuch,id=a: invalid object type: nosuch\n")


def test_a_client():
    with Daemon() as daemon:
        client = daemon.client()
        for command, arguments in (
                ("object-add", {"qom-type": "rng-random", "id": "a"}),
                ("object-add", {"qom-type": "iothread", "id": "a"}),
                ("netdev_add", {"type": "hubport", "id": "a", "hubid": 0}),
                ("blockdev-add", {"driver": "null-co", "node-name": "a"}),
                ("chardev-add", {"id": "a", "backend": {"type": "null", "data": {}}}),
                ("device_add", {"driver": "virtio-rng-pci", "id": "a"})):
            reply = client.ask({"execute": command, "arguments": {**arguments, "nonsense": 1}})
            assert "nonsense" in reply.get("error", {}).get("desc", ""), (command, reply)
        with refused("Parameter 'qom-type' does not accept value 'nosuch'"):
            client.command("object-add", qom_type="nosuch", id="a")
        for kind in ("chardevs", "objects"):
            equal([row["name"] for row in client.command("qom-list", path=f"/{kind}")
                   if row["name"] == "a"], [], "what was refused is not there")


run(test_the_command_line, test_a_client)
