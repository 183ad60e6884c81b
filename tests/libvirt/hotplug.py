#!/usr/bin/env python3
"""attach-device and detach-device: interface, disk and rng, while the guest runs."""

from host import Host, contains, equal, run, until

# One each: the XML, the alias that libvirt gives it, what x-query-virtio calls it.
DEVICES = {
    "net1": ("virtio-net", """
        <interface type='user'>
          <mac address='52:54:00:12:34:57'/>
          <model type='virtio'/>
        </interface>"""),
    "virtio-disk1": ("virtio-blk", """
        <disk type='file' device='disk'>
          <driver name='qemu' type='raw'/>
          <source file='@DIR@/more.img'/>
          <target dev='vdb' bus='virtio'/>
        </disk>"""),
    "rng1": ("virtio-rng", """
        <rng model='virtio'>
          <backend model='random'>/dev/random</backend>
        </rng>"""),
}

# libvirt makes as many as a domain's devices need, and rarely one to spare.
PORTS = ("<controller type='pci' index='0' model='pcie-root'/>"
         + 12 * "<controller type='pci' model='pcie-root-port'/>")


def path(alias):
    return f"/machine/peripheral/{alias}/virtio-backend"


def names(host):
    return {row["path"]: row["name"] for row in host.monitor("plain", "x-query-virtio")}


def driven(host, alias):
    until(lambda: host.monitor("plain", "x-query-virtio-status", path=path(alias))["started"],
          f"{alias} is driven")


def leftovers(host):
    """Parts of devices that libvirt made first and takes away last."""
    nodes = [node["node-name"] for node in host.monitor("plain", "query-named-block-nodes")]
    objects = [row["name"] for row in host.monitor("plain", "qom-list", path="/objects")]
    return sorted(nodes), sorted(objects)


def test_in_and_out():
    with Host() as host:
        host.define("plain.xml")
        host.disk("more.img")
        host.virsh("start", "plain")
        before, parts = names(host), leftovers(host)
        for alias, (name, xml) in DEVICES.items():
            file = host.file(f"{alias}.xml", xml.replace("@DIR@", str(host.dir)))
            with host.events("plain") as events:
                host.virsh("attach-device", "plain", file, "--live")
                equal(names(host), {**before, path(alias): name})
                driven(host, alias)
                host.virsh("detach-device", "plain", file, "--live")
                until(lambda: "DEVICE_DELETED" in events.names(), "the device has gone")
            until(lambda: names(host) == before, "not listed any more")
            until(lambda: leftovers(host) == parts, "its parts have gone")
            assert f"'{alias}'" not in host.virsh("dumpxml", "plain")


def test_all_at_once_and_again():
    """Twice: names and addresses are free again."""
    with Host() as host:
        host.define("plain.xml", devices=PORTS)
        host.disk("more.img")
        host.virsh("start", "plain")
        before = names(host)
        files = [host.file(f"{alias}.xml", xml.replace("@DIR@", str(host.dir)))
                 for alias, (_, xml) in DEVICES.items()]
        for _ in range(2):
            for file in files:
                host.virsh("attach-device", "plain", file, "--live")
            equal(len(names(host)), len(before) + len(DEVICES))
            for file in reversed(files):
                host.virsh("detach-device", "plain", file, "--live")
            until(lambda: names(host) == before, "all have gone")


def test_refused():
    """A disk whose file is missing: our words come back, and nothing of it stays."""
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        before, parts = names(host), leftovers(host)
        xml = DEVICES["virtio-disk1"][1].replace("@DIR@", str(host.dir))
        said = host.virsh("attach-device", "plain", host.file("no.xml", xml), "--live", ok=False)
        contains(said, "more.img")
        equal((names(host), leftovers(host)), (before, parts))
        equal(host.state("plain"), "running (booted)")


run(test_in_and_out, test_all_at_once_and_again, test_refused)
