#!/usr/bin/env python3
"""What the events say, how often they come, and that they come before the reply of the
command that caused them; but DEVICE_DELETED, which comes after it."""

from vds import Daemon, ROOT, equal, run

RINGS = ROOT / "tests" / "golden" / "rings"


def told(client, command, **arguments):
    """The events before the command's reply, without their times."""
    client.command(command, **arguments)
    seen, client.events = client.events, []
    for event in seen:
        stamp = event.pop("timestamp")
        assert set(stamp) == {"seconds", "microseconds"}, stamp
        assert stamp["seconds"] > 1 << 30 and 0 <= stamp["microseconds"] < 1000000, stamp
    return seen


def test_run_state():
    with Daemon("-S") as daemon:
        client = daemon.client()
        equal(told(client, "stop"), [])
        equal(client.command("query-status"),
              {"running": False, "singlestep": False, "status": "prelaunch"})
        equal(told(client, "cont"), [{"event": "RESUME"}])
        equal(told(client, "cont"), [])
        equal(told(client, "stop"), [{"event": "STOP"}])
        equal(told(client, "stop"), [])
        equal(client.command("query-status")["status"], "paused")


def test_reset():
    with Daemon() as daemon:
        client = daemon.client()
        equal(told(client, "system_reset"),
              [{"event": "RESET",
                "data": {"guest": False, "reason": "host-qmp-system-reset"}}])
        equal(client.command("query-status")["running"], True)


def test_device_deleted():
    with Daemon("-device", "virtio-rng-pci,id=r0", "-device", "virtio-rng-pci",
                "-device", "virtio-rng-device,id=m0", "-device",
                f"virtio-replay,id=old,file={RINGS / 'handmade.vds'}") as daemon:
        client = daemon.client()

        def deleted(which):
            """All that comes after the reply, up to the device itself."""
            equal(told(client, "device_del", id=which), [])
            seen = []
            while not seen or seen[-1]["data"]["path"].endswith("/virtio-backend"):
                seen += told(client, "query-status")
            return [(event["event"], event["data"].get("device"), event["data"]["path"])
                    for event in seen]

        pci, anonymous = "/machine/peripheral/r0", "/machine/peripheral-anon/device[0]"
        equal(deleted("r0"), [("DEVICE_DELETED", None, pci + "/virtio-backend"),
                              ("DEVICE_DELETED", "r0", pci)])
        equal(deleted(anonymous), [("DEVICE_DELETED", None, anonymous + "/virtio-backend"),
                                   ("DEVICE_DELETED", None, anonymous)])
        equal(deleted("m0"), [("DEVICE_DELETED", "m0", "/machine/peripheral/m0")])
        equal(deleted("old"),
              [("DEVICE_DELETED", None, "/machine/peripheral/hand0/virtio-backend"),
               ("DEVICE_DELETED", "old", "/machine/peripheral/old")])
        equal(client.ask({"execute": "device_del", "arguments": {"id": "r0"}}),
              {"error": {"class": "DeviceNotFound", "desc": "Device 'r0' not found"}})
        equal(client.events, [])


def test_port_opened():
    with Daemon("-S", "-device", "virtio-serial-pci,id=s0,workload=light", "-chardev", "null,id=c0",
                "-device", "virtserialport,id=port0,chardev=c0") as daemon:
        client = daemon.client()
        client.command("cont")
        equal(client.event("VSERPORT_CHANGE")["data"], {"id": "port0", "open": True})
        client.command("stop")
        client.command("system_reset")
        equal(client.event("VSERPORT_CHANGE")["data"], {"id": "port0", "open": False})


if __name__ == "__main__":
    run(test_run_state, test_reset, test_device_deleted, test_port_opened)
