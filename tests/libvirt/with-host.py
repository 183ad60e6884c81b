#!/usr/bin/env python3
"""Runs a program beside a libvirt of its own.

usage: with-host.py PROGRAM [ARGUMENT...]
Its environment: VDS_DOMAIN_XML and VDS_RNG_XML are files to define and to attach.
"""

import os
import sys

from host import TIMEOUT, Host

RNG = "<rng model='virtio'><backend model='random'>/dev/random</backend></rng>"


def main():
    with Host() as host:
        host.disk()
        host.env["VDS_DOMAIN_XML"] = str(host.xml("plain.xml"))
        host.env["VDS_RNG_XML"] = str(host.file("rng.xml", RNG))
        host.env.update((key, value) for key, value in os.environ.items()
                        if key.startswith(("CMOCKA_", "ASAN_", "UBSAN_", "G_")))
        proc = host.command(host.reachable(sys.argv[1]), *sys.argv[2:])
        return proc.wait(2 * TIMEOUT)


if __name__ == "__main__":
    sys.exit(main())
