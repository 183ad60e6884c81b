#!/usr/bin/env python3
"""A bad option or property: one line that names it, exit status 1, nothing left behind."""

import pathlib
import socket
import subprocess
import tempfile

from vds import daemon_path, equal, run

GOOD = "-qmp unix:{dir}/qmp,server=on,wait=off -pidfile {dir}/pid "

# What is given, what the line holds. {dir} is a folder that must be empty at the end.
ROWS = [
    ("-foo", "-foo: invalid option"),
    ("-qmp", "-qmp: requires an argument"),
    (GOOD + "-qmp bad", "-qmp bad: 'bad' is not a valid char driver"),
    (GOOD + "-device nope,id=a", "-device nope,id=a: 'nope' is not a valid device model name"),
    (GOOD + "-device virtio-replay,file={dir}/no.vds", "{dir}/no.vds"),
    (GOOD + "-device virtio-replay,nope=1,file=x",
     "-device virtio-replay,nope=1,file=x: Property 'virtio-replay.nope' not found"),
    (GOOD + '-device {{"driver":', '-device {{"driver":: JSON parse error'),
    (GOOD + "-mon chardev=x", '-mon chardev=x: chardev "x" not found'),
    (GOOD + "-machine foo", "-machine foo: unsupported machine type"),
    (GOOD + "-machine q35,memory-backend=m", "Memory backend 'm' not found"),
    (GOOD + "-uuid 1", "-uuid 1: failed to parse UUID string"),
    (GOOD + "-qmp unix:{dir}/no/where,server=on", "-qmp unix:{dir}/no/where,server=on: "),
    (GOOD + "-qmp unix:{dir}/none", "-qmp unix:{dir}/none: "),
    (GOOD + "-qmp tcp:127.0.0.1:nonsense,server=on", "-qmp tcp:127.0.0.1:nonsense,server=on: "),
    (GOOD + "-chardev socket,id=c,fd=99,server=on -mon c",
     "-chardev socket,id=c,fd=99,server=on: "),
    (GOOD + "-netdev user,id=n -netdev user,id=n", "-netdev user,id=n: "),
    ("-pidfile {dir}/no/pid", "-pidfile {dir}/no/pid: cannot create PID file"),
    (GOOD + "-daemonize -device nope", "-device nope: 'nope' is not a valid device model"),
    (GOOD + "-daemonize -qmp unix:{dir}/no/where,server=on", "-qmp unix:{dir}/no/where"),
    ("-daemonize -qmp stdio", "-qmp stdio: cannot use stdio with -daemonize"),
]


def start(words, cwd=None):
    return subprocess.run([daemon_path(), *words], stdin=subprocess.DEVNULL, cwd=cwd,
                          capture_output=True, text=True, timeout=20)


def check(done, named):
    equal((done.returncode, done.stdout), (1, ""), named)
    equal(done.stderr.count("\n"), 1, done.stderr)
    assert done.stderr.startswith("virtio-debugd: "), done.stderr
    assert named in done.stderr, (named, done.stderr)


def test_rows():
    for line, named in ROWS:
        with tempfile.TemporaryDirectory(prefix="vds-") as folder:
            check(start(line.format(dir=folder).split()), named.format(dir=folder))
            equal(list(pathlib.Path(folder).iterdir()), [], line)


def test_a_newline_stays_one_line():
    check(start(["-device", "a\nb\x1b[31m"]), "-device a?b?[31m: ")


def test_a_long_argument_is_cut():
    done = start(["-qmp", "x" * 100000])
    check(done, "-qmp xxx")
    assert len(done.stderr) < 500, len(done.stderr)


def test_a_live_socket_is_left_alone():
    with tempfile.TemporaryDirectory(prefix="vds-") as folder:
        path = f"{folder}/qmp"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            other.listen()
            check(start(["-qmp", f"unix:{path},server=on,wait=off"]), path)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)


def test_a_file_is_left_alone():
    with tempfile.TemporaryDirectory(prefix="vds-") as folder:
        path = pathlib.Path(folder) / "qmp"
        path.write_text("precious")
        check(start(["-qmp", f"unix:{path},server=on,wait=off"]), str(path))
        equal(path.read_text(), "precious")


run(test_rows, test_a_newline_stays_one_line, test_a_long_argument_is_cut,
    test_a_live_socket_is_left_alone, test_a_file_is_left_alone)
