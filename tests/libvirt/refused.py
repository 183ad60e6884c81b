#!/usr/bin/env python3
"""What we refuse to start with: virsh shows our line, and nothing is left."""

from host import Host, contains, equal, run

COMMANDLINE = """<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
{}</qemu:commandline>"""


def args(*words):
    return COMMANDLINE.format("".join(f"<qemu:arg value='{word}'/>\n" for word in words))


def refused(host, *words):
    """What virsh says when the domain is started with these words of ours."""
    host.define("minimal.xml", args(*words))
    said = host.virsh("start", "minimal", ok=False)
    equal(host.state("minimal").split(" (")[0], "shut off")
    equal(host.emulators(), [])
    host.virsh("undefine", "minimal")
    return said


def test_start():
    with Host() as host:
        contains(refused(host, "-device", "virtio-toaster-pci"), "virtio-toaster-pci")
        contains(refused(host, "-no-such-option"), "-no-such-option")
        contains(refused(host, "-device", "virtio-rng-pci,bus=nowhere"), "nowhere")
        said = refused(host, "-device", "virtio-rng-pci,no-such-property=1")
        contains(said, "no-such-property")
        contains(host.log("minimal"), said.splitlines()[-1].split(": ", 3)[-1])


def test_no_such_machine():
    """libvirt knows by its probe what machines there are."""
    with Host() as host:
        xml = host.xml("minimal.xml")
        xml.write_text(xml.read_text().replace("machine='vds'", "machine='isapc'"))
        contains(host.virsh("define", xml, ok=False), "machine")


def test_no_processor():
    """Asked for one, libvirt refuses; where it could not ask us for models, it crashed."""
    with Host() as host:
        for mode in ("host-model", "host-passthrough"):
            xml = host.xml("minimal.xml")
            xml.write_text(xml.read_text().replace("<devices>", f"<cpu mode='{mode}'/><devices>"))
            host.virsh("define", xml)
            contains(host.virsh("start", "minimal", ok=False), f"CPU mode '{mode}'")
            host.virsh("undefine", "minimal")


run(test_start, test_no_such_machine, test_no_processor)
