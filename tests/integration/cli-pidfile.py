#!/usr/bin/env python3
"""-pidfile: written and locked before anything can be reached, removed at the end."""

import os
import pathlib
import signal
import stat
import subprocess
import tempfile

from vds import Daemon, daemon_path, equal, run


def folder():
    return tempfile.TemporaryDirectory(prefix="vds-")


def test_content_and_mode():
    with folder() as name:
        path = pathlib.Path(name) / "pid"
        with Daemon("-pidfile", path) as daemon:
            equal(path.read_text(), f"{daemon.proc.pid}\n")
            equal(stat.S_IMODE(path.stat().st_mode), 0o600)
        assert not path.exists()


def test_removed_by_quit():
    with folder() as name:
        path = pathlib.Path(name) / "pid"
        with Daemon("-pidfile", path) as daemon:
            daemon.client().command("quit")
            daemon.proc.wait(20)
            assert not path.exists() and not daemon.sock.exists()


def test_relative_path():
    with folder() as name:
        done = subprocess.run([daemon_path(), "-pidfile", "p", "-qmp", "stdio"], cwd=name,
                              input='{"execute":"qmp_capabilities"}{"execute":"quit"}',
                              text=True, stdout=subprocess.PIPE, timeout=20)
        equal(done.returncode, 0)
        equal(os.listdir(name), [])


def test_second_is_refused():
    with folder() as name:
        path = pathlib.Path(name) / "pid"
        with Daemon("-pidfile", path) as daemon:
            second = subprocess.run([daemon_path(), "-pidfile", path], capture_output=True,
                                    text=True, timeout=20)
            equal(second.returncode, 1)
            assert f"-pidfile {path}: " in second.stderr, second.stderr
            equal(path.read_text(), f"{daemon.proc.pid}\n")


def test_a_crash_is_in_nobodys_way():
    with folder() as name:
        path = pathlib.Path(name) / "pid"
        with Daemon("-pidfile", path, expect_exit=-signal.SIGKILL) as daemon:
            daemon.proc.kill()
        assert path.exists()
        with Daemon("-pidfile", path) as daemon:
            equal(path.read_text(), f"{daemon.proc.pid}\n")


def test_anothers_file_stays():
    with folder() as name:
        path = pathlib.Path(name) / "pid"
        with Daemon("-pidfile", path):
            path.unlink()
            path.write_text("another's")
        equal(path.read_text(), "another's")


def test_a_link_is_not_followed():
    with folder() as name:
        path, target = pathlib.Path(name) / "pid", pathlib.Path(name) / "target"
        target.write_text("precious")
        path.symlink_to(target)
        done = subprocess.run([daemon_path(), "-pidfile", path], capture_output=True,
                              text=True, timeout=20)
        equal(done.returncode, 1)
        equal(target.read_text(), "precious")


run(test_content_and_mode, test_removed_by_quit, test_relative_path, test_second_is_refused,
    test_a_crash_is_in_nobodys_way, test_anothers_file_stays, test_a_link_is_not_followed)
