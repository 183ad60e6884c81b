#!/usr/bin/env python3
"""What libvirt tells of a domain by itself: list, dominfo, domstats, and its balloon."""

from host import Host, contains, equal, run, until


def used_memory(host):
    for line in host.virsh("dominfo", "plain").splitlines():
        if line.startswith("Used memory:"):
            return int(line.split()[2])
    raise AssertionError("no used memory")


def test_figures():
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        contains(host.virsh("list"), "plain", "running")
        contains(host.virsh("dominfo", "plain"), "running", "CPU(s):         1", "65536 KiB")
        contains(host.virsh("domstats", "plain"), "state.state=1", "balloon.maximum=65536",
                 "vcpu.current=1", "block.count=1", "net.count=1")
        contains(host.virsh("domblklist", "plain"), "vda", "disk.img")
        contains(host.virsh("domiflist", "plain"), "52:54:00:12:34:56", "virtio")
        contains(host.virsh("dommemstat", "plain"), "actual 65536", "rss")
        assert host.virsh("ttyconsole", "plain").startswith("/dev/pts/")


def test_balloon():
    """`setmem` reaches the guest's balloon, and its answer comes back."""
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        equal(used_memory(host), 65536)
        host.virsh("setmem", "plain", "32M", "--live")
        until(lambda: used_memory(host) == 32768, "the balloon is filled")
        host.virsh("setmem", "plain", "64M", "--live")
        until(lambda: used_memory(host) == 65536, "the balloon is empty")


def test_disk_and_link():
    """What a manager asks of a disk and a link, and changes of them."""
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        contains(host.virsh("domblkstat", "plain", "vda"), "vda rd_req", "vda wr_req")
        host.virsh("blockresize", "plain", "vda", "16M")
        contains(host.virsh("domblkinfo", "plain", "vda"), "16777216")
        host.virsh("domif-setlink", "plain", "52:54:00:12:34:56", "down")
        contains(host.virsh("domif-getlink", "plain", "52:54:00:12:34:56"), "down")


run(test_figures, test_balloon, test_disk_and_link)
