#!/usr/bin/env python3
"""set_link pulls a network device's cable out: nothing passes, and the driver is told."""

from live import no_guest_errors, prop, until, wait_driven
from vds import Daemon, equal, run

NET = "/machine/peripheral/net0/virtio-backend"
ARGS = ("-netdev", "loop,id=wire", "-device",
        "virtio-net-pci,id=net0,netdev=wire,workload=light,rate=1000")


def link(client, up, name="net0"):
    reply = client.ask({"execute": "set_link", "arguments": {"name": name, "up": up}})
    equal(reply, {"return": {}})


def test_nothing_passes_while_it_is_out():
    with Daemon(*ARGS) as daemon:
        client = daemon.client()
        wait_driven(client)
        until(lambda: prop(client, NET, "rx-packets") > 10, "packets")
        for name in ("net0", "wire"):
            link(client, False, name)
            equal(prop(client, NET, "link-up"), False)
            before, lost = prop(client, NET, "rx-packets"), prop(client, NET, "dropped")
            until(lambda n=lost: prop(client, NET, "dropped") > n + 10, "packets are lost")
            equal(prop(client, NET, "rx-packets"), before)
            link(client, False, name)
            link(client, True, name)
            until(lambda n=before: prop(client, NET, "rx-packets") > n + 10, "packets")
        no_guest_errors(client)


def test_it_stays_out_over_a_reset():
    with Daemon(*ARGS) as daemon:
        client = daemon.client()
        wait_driven(client)
        link(client, False)
        client.command("system_reset")
        wait_driven(client)
        equal(prop(client, NET, "link-up"), False)
        no_guest_errors(client)


def test_before_a_driver_found_it():
    with Daemon("-S", *ARGS) as daemon:
        client = daemon.client()
        link(client, False)
        client.command("cont")
        wait_driven(client)
        until(lambda: prop(client, NET, "dropped") > 10, "packets are lost")
        equal(prop(client, NET, "rx-packets"), 0)


def test_what_has_no_cable():
    with Daemon("-device", "virtio-rng-pci,id=rng0", "-netdev", "user,id=loose") as daemon:
        client = daemon.client()
        for name in ("rng0", "loose", "nobody"):
            reply = client.ask({"execute": "set_link", "arguments": {"name": name, "up": True}})
            equal(reply["error"], {"class": "DeviceNotFound", "desc": f"Device '{name}' not found"})


if __name__ == "__main__":
    run(test_nothing_passes_while_it_is_out, test_it_stays_out_over_a_reset,
        test_before_a_driver_found_it, test_what_has_no_cable)
