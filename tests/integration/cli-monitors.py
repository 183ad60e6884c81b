#!/usr/bin/env python3
"""Every way to ask for a monitor ends in one."""

import os
import pathlib
import re
import socket
import subprocess
import tempfile
import tty

from vds import Client, Daemon, daemon_path, equal, run

STATUS = '{"execute":"qmp_capabilities"}{"execute":"query-status"}'


def hmp_session(sock, line):
    """What a human monitor says to one line, without banner and prompts."""
    sock.settimeout(20)
    sock.sendall(line.encode() + b"\n")
    text = b""
    while text.count(b"(qemu) ") < 2:
        text += sock.recv(4096)
    return text


def test_several_at_once():
    with tempfile.TemporaryDirectory(prefix="vds-") as name:
        with Daemon("-qmp-pretty", f"unix:{name}/pretty,server=on,wait=off",
                    "-monitor", f"unix:{name}/hmp,server=on,wait=off",
                    "-chardev", f"socket,id=c,path={name}/long,server=on,wait=off",
                    "-mon", "chardev=c,mode=control",
                    "-chardev", f"socket,id=r,path={name}/readline,server=on,wait=off",
                    "-mon", "r") as daemon:
            equal(daemon.client().command("query-status")["status"], "running")
            long_form = Client(f"{name}/long")
            equal(long_form.command("query-status")["status"], "running")
            pretty = Client(f"{name}/pretty", negotiate=False)
            equal(pretty.line(), b"{\r\n")
            for path in ("hmp", "readline"):
                with socket.socket(socket.AF_UNIX) as human:
                    human.connect(f"{name}/{path}")
                    text = hmp_session(human, "info status")
                    assert b"VM status: running" in text, text
                    assert b"monitor - type 'help'" in text, text
            pretty.close()
            long_form.close()
        equal(os.listdir(name), [])


def test_stdio():
    done = subprocess.run([daemon_path(), "-S", "-qmp", "stdio"], input=STATUS +
                          '{"execute":"quit"}', capture_output=True, text=True, timeout=20)
    equal((done.returncode, done.stderr), (0, ""))
    assert '"status": "prelaunch"' in done.stdout, done.stdout


def test_inherited_descriptor():
    """As libvirt does: it listens, we accept, one client after the other."""
    with tempfile.TemporaryDirectory(prefix="vds-") as name, \
         socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{name}/monitor")
        listener.listen()
        fd = listener.fileno()
        with Daemon("-chardev", f"socket,id=charmonitor,fd={fd},server=on,wait=off",
                    "-mon", "chardev=charmonitor,id=monitor,mode=control", qmp=False,
                    pass_fds=[fd]):
            for _ in range(2):
                client = Client(f"{name}/monitor")
                equal(client.command("query-status")["status"], "running")
                client.close()
        assert os.path.exists(f"{name}/monitor"), "its maker's, not ours to remove"


def test_connects_without_server():
    with tempfile.TemporaryDirectory(prefix="vds-") as name, \
         socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{name}/q")
        listener.listen()
        with Daemon("-qmp", f"unix:{name}/q", qmp=False):
            connection, _ = listener.accept()
            client = Client(connection)
            equal(client.command("query-status")["status"], "running")
            client.close()


def test_tcp():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Daemon("-qmp", f"tcp:127.0.0.1:{port},server=on,wait=off"):
        client = Client(socket.create_connection(("127.0.0.1", port), 20))
        equal(client.command("query-status")["status"], "running")
        client.close()


def test_pty():
    proc = subprocess.Popen([daemon_path(), "-qmp", "pty"], stdout=subprocess.PIPE, text=True,
                            stderr=subprocess.DEVNULL)
    line = proc.stdout.readline()
    found = re.fullmatch(r"char device redirected to (\S+) \(label compat_monitor0\)\n", line)
    assert found, line
    fd = os.open(found[1], os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    os.write(fd, STATUS.encode() + b"\n")
    text = b""
    while b'"running"' not in text:
        text += os.read(fd, 4096)
    os.close(fd)
    proc.terminate()
    equal(proc.wait(20), 0)
    proc.stdout.close()


def test_wait_holds_the_guest():
    with tempfile.TemporaryDirectory(prefix="vds-") as name:
        path = pathlib.Path(name) / "second"
        with Daemon("-qmp", f"unix:{path},server=on") as daemon:
            daemon.wait_for(path)
            first = daemon.client()
            equal(first.command("query-status")["status"], "prelaunch")
            second = Client(path)
            first.event("RESUME")
            equal(second.command("query-status")["status"], "running")
            second.close()


def test_name_and_uuid():
    with Daemon("-name", "guest=a,,b,debug-threads=on", "-uuid",
                "2E1BF590-be07-457c-a182-445d9b952f9e") as daemon:
        client = daemon.client()
        equal(client.command("query-name"), {"name": "a,b"})
        equal(client.command("query-uuid"), {"UUID": "2e1bf590-be07-457c-a182-445d9b952f9e"})


def test_closed_standard_descriptors():
    """A socket must never get number 2: messages would go to its client."""
    with tempfile.TemporaryDirectory(prefix="vds-") as name:
        path = pathlib.Path(name) / "q"
        proc = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", daemon_path(),
                                 "-qmp", f"unix:{path},server=on,wait=off"])
        while not path.exists():
            assert proc.poll() is None
        for fd in range(3):
            equal(os.readlink(f"/proc/{proc.pid}/fd/{fd}"), "/dev/null")
        proc.terminate()
        equal(proc.wait(20), 0)


run(test_several_at_once, test_stdio, test_inherited_descriptor, test_connects_without_server,
    test_tcp, test_pty, test_wait_holds_the_guest, test_name_and_uuid,
    test_closed_standard_descriptors)
