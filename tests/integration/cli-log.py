#!/usr/bin/env python3
"""The log: to standard error, to the journal or with -D to a file; one line each, whatever
a name holds; and nobody waits for whoever reads it."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

from vds import TIMEOUT, Client, connect, daemon_path, equal, run

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z virtio-debugd: ")


def until(what):
    end = time.monotonic() + TIMEOUT
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def arguments(folder, *more, sock="sock"):
    return [daemon_path(), "-qmp", f"unix:{folder}/qmp,server=on,wait=off", "-device",
            f"virtio-rng-pci,id=rng0,vhost-user={folder}/{sock}", *more]


def visit(folder, sock="sock"):
    """A front-end comes and leaves."""
    until(lambda: (folder / sock).exists() and (folder / "qmp").exists())
    connect(folder / sock).close()


def end(process):
    process.send_signal(signal.SIGTERM)
    equal(process.wait(TIMEOUT), 0)


def in_folder(test):
    def inside():
        with tempfile.TemporaryDirectory(prefix="vds-") as name:
            test(pathlib.Path(name))
    inside.__name__ = test.__name__
    return inside


@in_folder
def test_file_of_a_daemon(folder):
    """-D under -daemonize; a file that was moved away is made again; mode 0600."""
    log = folder / "log"
    done = subprocess.run(arguments(folder, "-daemonize", "-pidfile", f"{folder}/pid", "-D", log),
                          capture_output=True, text=True, timeout=TIMEOUT)
    equal((done.returncode, done.stderr), (0, ""))
    pid = int((folder / "pid").read_text())
    try:
        visit(folder)
        until(lambda: log.exists() and "left" in log.read_text())
        for line in log.read_text().splitlines():
            assert STAMP.match(line), line
        equal(log.stat().st_mode & 0o777, 0o600)
        log.rename(folder / "log.1")
        visit(folder)
        until(lambda: log.exists() and "front-end 2 left" in log.read_text())
        assert "front-end 2" not in (folder / "log.1").read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not (folder / "pid").exists())
    until(lambda: "terminating on signal 15" in log.read_text())


@in_folder
def test_files_that_cannot_be(folder):
    os.mkfifo(folder / "fifo")
    for path, why in ((folder / "fifo", "No such device or address"),
                      (folder, "Is a directory"), (folder / "x" / "y", "No such file")):
        done = subprocess.run(arguments(folder, "-D", path), capture_output=True, text=True,
                              timeout=TIMEOUT)
        equal(done.returncode, 1)
        assert f"-D {path}: cannot open it: {why}" in done.stderr, done.stderr


@in_folder
def test_full_pipe(folder):
    """Nobody reads standard error: queries are answered, and the end comes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    process = subprocess.Popen(arguments(folder), stderr=writer)
    try:
        os.close(writer)
        for _ in range(20):
            visit(folder)
        client = Client(folder / "qmp")
        begun = time.monotonic()
        for _ in range(20):
            client.command("query-status")
        assert time.monotonic() - begun < 1
        client.close()
        end(process)
    finally:
        process.kill()
        os.close(reader)


@in_folder
def test_journal(folder):
    """A priority in front, where JOURNAL_STREAM names standard error; else not."""
    for right in (True, False):
        with open(folder / "err", "w+") as err:
            found = os.fstat(err.fileno())
            stream = f"{found.st_dev}:{found.st_ino + (not right)}"
            process = subprocess.Popen(arguments(folder), stderr=err,
                                       env={**os.environ, "JOURNAL_STREAM": stream})
            try:
                visit(folder)
                until(lambda: "left" in (folder / "err").read_text())
                end(process)
            finally:
                process.kill()
            first, _, last = (folder / "err").read_text().splitlines()
            equal(first[:17], "<6>virtio-debugd:" if right else "virtio-debugd: rn")
            equal(last.startswith("<4>"), right)


@in_folder
def test_journal_of_a_daemon(folder):
    """Standard error that is the journal stays open; any other does not."""
    for right in (True, False):
        with open(folder / "err", "w+") as err:
            found = os.fstat(err.fileno())
            stream = f"{found.st_dev}:{found.st_ino + (not right)}"
            subprocess.run(arguments(folder, "-daemonize", "-pidfile", f"{folder}/pid"),
                           stderr=err, check=True, timeout=TIMEOUT,
                           env={**os.environ, "JOURNAL_STREAM": stream})
        pid = int((folder / "pid").read_text())
        try:
            equal(os.readlink(f"/proc/{pid}/fd/2"),
                  str(folder / "err") if right else "/dev/null")
            visit(folder)
            until(lambda: not right or "front-end 1 left" in (folder / "err").read_text())
        finally:
            os.kill(pid, signal.SIGTERM)
        until(lambda: not (folder / "pid").exists())
        equal((folder / "err").read_text().count("<6>virtio-debugd: "), 2 if right else 0)


@in_folder
def test_one_line_each(folder):
    """A name with a newline, an escape sequence and a byte that is no UTF-8."""
    name = b"a\n\x1b[31m\xff\xc2\x9bz"
    with open(folder / "err", "w+") as err:
        process = subprocess.Popen(
            [*arguments(folder)[:-1],
             b"virtio-rng-pci,id=rng0,vhost-user=" + os.fsencode(folder) + b"/" + name],
            stderr=err)
        try:
            path = os.fsencode(folder) + b"/" + name
            until(lambda: os.path.exists(path) and (folder / "qmp").exists())
            with socket.socket(socket.AF_UNIX) as front:
                front.connect(path)
            until(lambda: b"left" in (folder / "err").read_bytes())
            end(process)
        finally:
            process.kill()
    lines = (folder / "err").read_bytes().decode("ascii").splitlines()
    equal(len(lines), 3)
    assert r"/a\x0a\x1b[31m\xff\xc2\x9bz'" in lines[0], lines[0]


@in_folder
def test_limit(folder):
    """Ten lines of one source, and how many more there were."""
    with open(folder / "err", "w+") as err:
        process = subprocess.Popen(arguments(folder), stderr=err)
        try:
            for _ in range(100):
                visit(folder)
            client = Client(folder / "qmp")
            until(lambda: client.command(
                "qom-get", path="/machine/peripheral/rng0/virtio-backend",
                property="vhost-user-connections") == 100)
            client.close()
            time.sleep(0.2)
            end(process)
        finally:
            process.kill()
    lines = (folder / "err").read_text().splitlines()
    equal(len(lines), 12)
    equal(lines[-1], "virtio-debugd: rng0: connections: 190 more lines were left out")


run(test_file_of_a_daemon, test_files_that_cannot_be, test_full_pipe, test_journal,
    test_journal_of_a_daemon, test_one_line_each, test_limit)
