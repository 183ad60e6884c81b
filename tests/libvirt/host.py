"""A libvirt of one's own: a session daemon in a private folder, and virsh beside it.

    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")            # what it prints; ok=False: it must fail
        host.monitor("plain", "query-status")   # the value, through qemu-monitor-command

Nothing of the machine's own libvirt is touched, and no root is needed. A root's libvirtd is
always the system's, so root drops to an unprivileged user. At the end of the block the
domains are destroyed, the daemon is told to end, and no emulator, socket or pidfile may be
left; test files run below `reaper`, which checks the processes once more.

VDS_LIBVIRT_ROOT=DIR takes libvirtd, virsh and their libraries from packages unpacked there.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
from vds import ROOT, daemon_path, equal, run, skip  # noqa: E402,F401 pylint: disable=C0413,W0611

TIMEOUT = 60  # seconds; what takes longer hangs
NOBODY = 65534
ALTERNATIVE = os.environ.get("VDS_LIBVIRT_ROOT")
FOLDERS = ("home", "run", "cfg/libvirt", "cache", "data", "bin")
QEMU_CONF = 'stdio_handler = "file"\nsecurity_driver = "none"\n'
LIBVIRTD_CONF = 'log_filters = "{filters}"\nlog_outputs = "1:file:{dir}/libvirtd.log"\n'


def until(check, what, seconds=TIMEOUT):
    """What check() gives, once that is true."""
    end = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.02)
    return found


def contains(text, *parts):
    for part in parts:
        if part not in text:
            raise AssertionError(f"expected {part!r} in:\n{text}")


class Host:
    def __init__(self, monitor_log=False):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="vds-", dir="/tmp"))
        self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        for folder in FOLDERS:
            (self.dir / folder).mkdir(parents=True)
        filters = "1:qemu.qemu_monitor 3:*" if monitor_log else "3:*"
        self.file("cfg/libvirt/qemu.conf", QEMU_CONF)
        self.file("cfg/libvirt/libvirtd.conf", LIBVIRTD_CONF.format(filters=filters, dir=self.dir))
        self.own()
        self.env = self.environment()
        self.libvirtd = None
        self.emulator = self.reachable(daemon_path())

    # What a user has who logs in, and no more.
    def environment(self):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C",
               "HOME": f"{self.dir}/home", "XDG_RUNTIME_DIR": f"{self.dir}/run",
               "XDG_CONFIG_HOME": f"{self.dir}/cfg", "XDG_CACHE_HOME": f"{self.dir}/cache",
               "XDG_DATA_HOME": f"{self.dir}/data"}
        if ALTERNATIVE:
            root = self.alternative()
            lib = f"{root}/usr/lib/{os.uname().machine}-linux-gnu"
            env.update({"PATH": f"{root}/usr/sbin:{root}/usr/bin:{env['PATH']}",
                        "LD_LIBRARY_PATH": lib,
                        "LIBVIRT_DRIVER_DIR": f"{lib}/libvirt/connection-driver"})
        return env

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text)
        self.own()
        return path

    def own(self):
        """The folder belongs to the user that libvirt runs as."""
        self.dir.chmod(0o700)
        if self.user:
            for path in [self.dir, *self.dir.rglob("*")]:
                os.lchown(path, NOBODY, NOBODY)

    def may(self, how, path):
        """Whether the user may; how as for test(1)."""
        return subprocess.run(["test", how, path], check=False, **self.user).returncode == 0

    def reachable(self, program):
        """program's path, or that of a copy if the user cannot execute it where it is."""
        path = pathlib.Path(program).resolve()
        if self.may("-r", path) and self.may("-x", path):
            return path
        copy = self.dir / "bin" / path.name
        shutil.copy(path, copy)
        copy.chmod(0o755)
        self.own()
        return copy

    def alternative(self):
        """Likewise of the folder that ALTERNATIVE names."""
        root = pathlib.Path(ALTERNATIVE).resolve()
        if self.may("-x", root / "usr/sbin/libvirtd"):
            return root
        copy = self.dir / "libvirt"
        shutil.copytree(root, copy, symlinks=True)
        self.own()
        return copy

    # The daemon.
    def __enter__(self):
        self.start_libvirtd()
        return self

    def start_libvirtd(self):
        sock = self.dir / "run/libvirt/libvirt-sock"
        self.libvirtd = subprocess.Popen(["libvirtd"], env=self.env, cwd=self.dir,
                                         stdin=subprocess.DEVNULL, **self.user)

        def listens():
            if self.libvirtd.poll() is not None:
                raise RuntimeError(f"libvirtd ended with {self.libvirtd.returncode}")
            return sock.is_socket()
        until(listens, "libvirtd's socket")

    def stop_libvirtd(self):
        """Domains go on without it."""
        self.libvirtd.send_signal(signal.SIGTERM)
        equal(self.libvirtd.wait(TIMEOUT), 0, "libvirtd's exit status")

    def __exit__(self, kind, value, trace):
        try:
            if self.libvirtd.poll() is None:
                for domain in self.virsh("list", "--name").split():
                    self.virsh("destroy", domain, ok=None)  # it may be ending
                self.stop_libvirtd()
            if kind is None:
                equal(self.left(), [], "left behind")
                equal(self.sanitizer_reports(), [])
        finally:
            if kind is not None:
                self.show_logs()
            self.libvirtd.kill()
            self.libvirtd.wait()
            for pid in self.emulators():
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.dir, ignore_errors=True)

    # What is there.
    def emulators(self):
        """Process ids of every emulator of this host, also of those libvirt has forgotten."""
        return [int(exe.parent.name) for exe in pathlib.Path("/proc").glob("[0-9]*/exe")
                if self.runs_here(exe)]

    def runs_here(self, exe):
        with contextlib.suppress(OSError):
            words = (exe.parent / "cmdline").read_bytes()
            return os.readlink(exe) == str(self.emulator) and bytes(self.dir) in words
        return False

    def left(self):
        """Emulators, sockets and pidfiles (without those by which libvirt locks its drivers)."""
        found = [f"process {pid}" for pid in self.emulators()]
        found += [str(path.relative_to(self.dir)) for path in sorted(self.dir.rglob("*"))
                  if path.is_socket() or path.suffix == ".pid" and path.name != "driver.pid"]
        return found

    def log(self, domain):
        """What libvirt noted of the domain: its command line, our standard error."""
        path = self.dir / f"cache/libvirt/qemu/log/{domain}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def sanitizer_reports(self):
        logs = (self.dir / "cache/libvirt/qemu/log").glob("*.log")
        return [log.name for log in logs if re.search(r"Sanitizer|runtime error:",
                                                      log.read_text(errors="replace"))]

    def show_logs(self):
        for path in [self.dir / "libvirtd.log",
                     *(self.dir / "cache/libvirt/qemu/log").glob("*.log")]:
            if path.exists():
                sys.stderr.write(f"--- {path.name}\n{path.read_text(errors='replace')[-20000:]}\n")

    def pid(self, domain):
        """The emulator's process id."""
        return int((self.dir / f"run/libvirt/qemu/run/{domain}.pid").read_text())

    def wait_for_end(self, pid):
        until(lambda: pid not in self.emulators(), f"process {pid} ends")

    # What one does with it.
    def command(self, *words, **how):
        """A process in the user's environment."""
        return subprocess.Popen([str(word) for word in words], env=self.env, cwd=self.dir,
                                stdin=subprocess.DEVNULL, text=True, **self.user, **how)

    def virsh(self, *words, ok=True):
        """What `virsh WORDS` prints. ok=False: it must fail, and what it says; ok=None: either."""
        proc = self.command("virsh", "-q", "-c", "qemu:///session", *words,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = proc.communicate(timeout=TIMEOUT)
        if ok is not None and ok != (proc.returncode == 0):
            raise AssertionError(f"virsh {' '.join(map(str, words))}: status {proc.returncode}\n"
                                 f"{out}{err}")
        return (err if ok is False else out).strip()

    def xml(self, name, more="", devices=""):
        """A file of this folder, with the words in @...@ replaced, and more before the ends."""
        text = (HERE / name).read_text()
        text = text.replace("@EMULATOR@", str(self.emulator)).replace("@DIR@", str(self.dir))
        text = text.replace("</devices>", devices + "</devices>")
        return self.file(name, text.replace("</domain>", more + "</domain>"))

    def define(self, name, more="", devices=""):
        self.disk()
        self.virsh("define", self.xml(name, more, devices))
        return pathlib.Path(name).stem

    def disk(self, name="disk.img", mib=8):
        with open(self.file(name, ""), "r+b") as image:
            image.truncate(mib << 20)

    def ask(self, domain, request):
        """The whole reply of one QMP request, through libvirt."""
        return json.loads(self.virsh("qemu-monitor-command", domain, json.dumps(request)))

    def monitor(self, domain, command, **arguments):
        request = {"execute": command}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        reply = self.ask(domain, request)
        if "return" not in reply:
            raise AssertionError(f"{command}: {reply}")
        return reply["return"]

    def hmp(self, domain, line):
        return self.virsh("qemu-monitor-command", domain, "--hmp", line)

    def state(self, domain):
        return self.virsh("domstate", "--reason", domain)

    @contextlib.contextmanager
    def events(self, domain):
        """The domain's QMP events, as `virsh qemu-monitor-event` prints them."""
        path = self.file("events", "")
        with open(path, "w", encoding="utf-8") as out:
            proc = self.command("virsh", "-q", "-c", "qemu:///session", "qemu-monitor-event",
                                domain, "--loop", "--timeout", TIMEOUT, stdout=out)
        try:
            time.sleep(0.3)  # nothing tells when it listens
            yield Events(path)
        finally:
            proc.kill()
            proc.wait()


class Events:
    """What a file has of `virsh qemu-monitor-event`."""

    def __init__(self, path):
        self.path = path

    def text(self):
        return self.path.read_text()

    def names(self):
        return re.findall(r"^event (\w+)", self.text(), re.MULTILINE)

    def wait(self, *names):
        """Until these came, in this order; others may come between them."""
        def come():
            return [name for name in self.names() if name in names]
        until(lambda: len(come()) >= len(names), f"events {names}")
        equal(come()[: len(names)], list(names))


def need_libvirt():
    """Skips unless libvirtd and virsh are installed."""
    for program in ("libvirtd", "virsh"):
        path = f"{ALTERNATIVE}/usr/sbin:{ALTERNATIVE}/usr/bin" if ALTERNATIVE else \
            "/usr/sbin:/usr/bin:/sbin:/bin"
        if not shutil.which(program, path=path):
            skip(f"{program} is not installed")


need_libvirt()
