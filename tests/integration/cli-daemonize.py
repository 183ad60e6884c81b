#!/usr/bin/env python3
"""-daemonize: the command ends when everything can be reached, and takes its terminal."""

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from vds import Client, daemon_path, equal, run


def gone(pid):
    """Ended; as an orphan it may stay a zombie until the first process reaps it."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def await_end(pid):
    end = time.monotonic() + 20
    while not gone(pid):
        assert time.monotonic() < end, f"{pid} still runs"
        time.sleep(0.01)


@contextlib.contextmanager
def daemon(*args, cwd=None, probe=()):
    """Yields (folder, pid) of a daemon that has said it is ready; ends it."""
    with tempfile.TemporaryDirectory(prefix="vds-") as name:
        folder = pathlib.Path(name)
        # capture_output: returns at the end of standard output and error, too, so a
        # daemon that kept one of them would be a timeout here (libvirt waits likewise).
        done = subprocess.run(
            [daemon_path(), "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine",
             "none,accel=kvm:tcg", "-qmp", f"unix:{cwd and '.' or name}/qmp,server=on,wait=off",
             "-pidfile", f"{cwd and '.' or name}/pid", "-daemonize", *args],
            capture_output=True, text=True, timeout=20, cwd=name if cwd else None)
        equal((done.returncode, done.stdout, done.stderr), (0, "", ""))
        pid = int((folder / "pid").read_text())
        try:
            yield folder, pid
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            await_end(pid)
            equal(os.listdir(name), [])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_reachable_at_once():
    with daemon() as (folder, pid):
        client = Client(folder / "qmp")
        equal(client.command("query-status")["status"], "prelaunch")
        client.close()


def test_detached():
    with daemon() as (folder, pid):
        for fd in range(3):
            equal(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null")
        assert os.getsid(pid) not in (os.getsid(0), pid)
        equal(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[4], "0")


def test_event_at_the_end():
    with daemon() as (folder, pid):
        client = Client(folder / "qmp")
        os.kill(pid, signal.SIGTERM)
        equal(client.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-signal"})
        equal(client.line(), b"")
        client.close()


def test_quit():
    with daemon() as (folder, pid):
        client = Client(folder / "qmp")
        client.command("quit")
        client.close()
        await_end(pid)


def test_relative_paths():
    with daemon(cwd=True) as (folder, pid):
        equal(os.readlink(f"/proc/{pid}/cwd"), os.path.realpath(folder))


def test_nobody_waits_any_more():
    """Killed before it was ready (wait=on), the starter leaves no daemon behind."""
    with tempfile.TemporaryDirectory(prefix="vds-") as name:
        folder = pathlib.Path(name)
        starter = subprocess.Popen([daemon_path(), "-daemonize", "-qmp",
                                    f"unix:{name}/qmp,server=on", "-pidfile", f"{name}/pid"],
                                   stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not (folder / "qmp").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        pid = int((folder / "pid").read_text())
        starter.kill()
        starter.wait()
        assert not gone(pid)
        client = Client(folder / "qmp", negotiate=False)
        await_end(pid)
        client.close()
        equal(os.listdir(name), [])


run(test_reachable_at_once, test_detached, test_event_at_the_end, test_quit,
    test_relative_paths, test_nobody_waits_any_more)
