#!/usr/bin/env python3
"""SIGTERM, SIGINT and SIGHUP end the process as QEMU ends; SIGPIPE does not."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time

from vds import Daemon, daemon_path, equal, run


def test_each_ends_it():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with Daemon() as daemon:
            clients = [daemon.client(), daemon.client()]
            silent = daemon.client(negotiate=False)
            silent.message()
            daemon.proc.send_signal(number)
            for client in clients:
                equal(client.event("SHUTDOWN")["data"],
                      {"guest": False, "reason": "host-signal"})
                equal(client.line(), b"")
            equal(silent.line(), b"", "events are for those who negotiated")
            equal(daemon.proc.wait(20), 0)
            assert not daemon.sock.exists()
            equal(daemon.stderr(),
                  f"virtio-debugd: terminating on signal {number} from pid {os.getpid()}\n")


def test_pipe_does_not():
    with Daemon() as daemon:
        daemon.proc.send_signal(signal.SIGPIPE)
        equal(daemon.client().command("query-status")["status"], "running")


def test_while_waiting_for_the_first_client():
    with tempfile.TemporaryDirectory(prefix="vds-") as name:
        path = pathlib.Path(name) / "qmp"
        proc = subprocess.Popen([daemon_path(), "-qmp", f"unix:{path},server=on"],
                                stderr=subprocess.PIPE, text=True)
        line = proc.stderr.readline()
        assert "waiting for connection on: unix:" in line, line
        proc.send_signal(signal.SIGTERM)
        equal(proc.wait(20), 0)
        proc.stderr.close()
        equal(os.listdir(name), [])


def test_a_client_that_does_not_read_cannot_hold_it():
    with Daemon() as daemon:
        client = daemon.client()
        client.sock.settimeout(0.2)
        try:
            while True:
                client.send('{"execute":"query-qmp-schema"}' * 100)
        except TimeoutError:
            pass
        start = time.monotonic()
        daemon.stop()
        assert time.monotonic() - start < 5


def test_quit_event_then_reply():
    with Daemon() as daemon:
        client = daemon.client()
        client.send('{"execute":"quit","id":1}')
        equal([client.message().get("event"), client.message(), client.line()],
              ["SHUTDOWN", {"return": {}, "id": 1}, b""])
        equal(daemon.proc.wait(20), 0)


run(test_each_ends_it, test_pipe_does_not, test_while_waiting_for_the_first_client,
    test_a_client_that_does_not_read_cannot_hold_it, test_quit_event_then_reply)
