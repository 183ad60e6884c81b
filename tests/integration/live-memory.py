#!/usr/bin/env python3
"""Guest RAM: its size, where another process finds it, and what it costs."""

import fcntl
import os
import subprocess

from live import Memory, prop
from vds import Daemon, daemon_path, equal, refused, run

MIB = 1 << 20

# Arguments, the size of the file, whether its length is fixed.
MAPPED = [
    ("", 64 * MIB, True),
    ("-m 17", 17 * MIB, True),
    ("-m 1G -machine q35", 1024 * MIB, True),
    ("-object memory-backend-memfd,id=r,size=20M -machine vds,memory-backend=r", 20 * MIB, True),
    ("-m 20M -object memory-backend-memfd,id=r,size=20M,seal=off -machine vds,memory-backend=r",
     20 * MIB, False),
    ("-object memory-backend-ram,id=r,size=20M,share=on -machine vds,memory-backend=r",
     20 * MIB, False),
    ("-object memory-backend-file,id=r,size=20M,share=on,mem-path={dir}/ram "
     "-machine vds,memory-backend=r", 20 * MIB, False),
]

REFUSED = [
    ("-machine vds,memory-backend=r", "Memory backend 'r' not found"),
    ("-object iothread,id=r -machine vds,memory-backend=r",
     "object of type 'iothread' is no memory backend"),
    ("-object memory-backend-ram,id=r -machine vds,memory-backend=r",
     "can't create backend with size 0"),
    ("-object memory-backend-file,id=r,size=1M -machine vds,memory-backend=r",
     "mem-path property not set"),
    ("-m 2M -object memory-backend-ram,id=r,size=1M -machine vds,memory-backend=r",
     "Machine memory size does not match the size of the memory backend"),
    ("-object memory-backend-ram,id=vds.ram,size=1M",
     "object name 'vds.ram' is reserved for the default RAM backend"),
    ("-object memory-backend-file,id=r,size=1M,mem-path=/nowhere/ram "
     "-machine vds,memory-backend=r", "/nowhere/ram"),
    ("-object memory-backend-ram,id=r,size=1M,share=maybe -machine vds,memory-backend=r",
     "share"),
]


def test_another_process_can_map_it():
    for line, size, sealed in MAPPED:
        with Daemon(*line.split()) as daemon:
            memory = Memory(daemon.client())
            equal(memory.size, size, line)
            equal(memory.read(size - 8, 8), bytes(8), line)
            with open(memory.path, "rb") as file:
                seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
                try:
                    found = fcntl.fcntl(file, fcntl.F_GET_SEALS) & seals
                except OSError: # no memfd
                    found = 0
                equal(found, seals if sealed else 0, line)


def test_a_file_is_where_it_was_asked_for():
    with Daemon(*MAPPED[-1][0].split()) as daemon:
        memory = Memory(daemon.client())
        assert os.path.samefile(memory.path, daemon.dir / "ram")


def test_private_memory_has_no_path():
    with Daemon("-object", "memory-backend-ram,id=r,size=1M",
                "-machine", "vds,memory-backend=r") as daemon:
        client = daemon.client()
        equal(prop(client, "/machine", "memory-backend"), "/objects/r")
        with refused("Property 'memory-backend-ram.map-path' not found"):
            prop(client, "/objects/r", "map-path")


def test_untouched_memory_costs_nothing():
    with Daemon("-m", "4G", "-S", "-device", "virtio-rng-pci") as daemon:
        memory = Memory(daemon.client())
        equal((memory.size, os.stat(memory.path).st_blocks), (4096 * MIB, 0))


def test_refusals():
    for line, named in REFUSED:
        done = subprocess.run([daemon_path(), *line.split()], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=20)
        equal((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
        assert named in done.stderr, (named, done.stderr)


if __name__ == "__main__":
    run(test_another_process_can_map_it, test_a_file_is_where_it_was_asked_for,
        test_private_memory_has_no_path, test_untouched_memory_costs_nothing, test_refusals)
