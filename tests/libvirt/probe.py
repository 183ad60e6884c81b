#!/usr/bin/env python3
"""What libvirt learns of the emulator before it starts any: once, and nothing stays behind."""

from host import Host, contains, equal, run


def cached(host):
    return sorted((host.dir / "cache/libvirt/qemu/cache/capabilities").glob("*.xml"))


def test_define():
    """One probe, kept; no process, socket or pidfile of it is left."""
    with Host(monitor_log=True) as host:
        before = host.left()
        host.define("minimal.xml")
        equal(host.left(), before)
        (cache,) = cached(host)
        when = cache.stat().st_mtime_ns
        contains(cache.read_text(), str(host.emulator))
        for _ in range(3):
            host.virsh("start", "minimal")
            host.virsh("destroy", "minimal")
            host.virsh("undefine", "minimal")
            host.define("minimal.xml")
        equal([(path, path.stat().st_mtime_ns) for path in cached(host)], [(cache, when)])
        greetings = (host.dir / "libvirtd.log").read_text().count('reply={"return": {"arch"')
        equal(greetings, 1, "probes")


def test_capabilities():
    """Asked for in so many words, libvirt knows our machines."""
    with Host() as host:
        before = host.left()
        for machine in ("vds", "q35"):
            text = host.virsh("domcapabilities", "--emulatorbin", host.emulator,
                              "--machine", machine, "--virttype", "qemu", "--arch", "x86_64")
            contains(text, "<domain>qemu</domain>", machine)
        equal(host.left(), before)


run(test_define, test_capabilities)
