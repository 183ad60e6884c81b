"""A Linux guest in QEMU, and a shell in it.

    with Guest("-device", "virtio-rng-pci") as guest:
        guest.sh("dd if=/dev/hwrng bs=64 count=1 | wc -c")    # its output; raises if it fails
        guest.qmp.command("query-status")

Owns the process, its sockets and its initramfs.  Knows nothing of what a test expects.
Memory is a shared memfd, so that vhost-user devices can be had.  Software emulation: it
boots in about six seconds.
"""

import atexit
import functools
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import vds  # noqa: E402  pylint: disable=wrong-import-position

HERE = pathlib.Path(__file__).resolve().parent
MEMORY = "256M"
BOOT_SECONDS = 120  # six on a quiet machine


def emulator():
    """QEMU's first words and its environment: the installed one, or the one unpacked below
    VDS_QEMU_ROOT (tests/lib/fetch-backports), which takes firmware from both."""
    root = os.environ.get("VDS_QEMU_ROOT")
    if not root:
        return ["qemu-system-x86_64"], os.environ
    libraries = next(pathlib.Path(root).glob("usr/lib/*/qemu")).parent
    words = [f"{root}/usr/bin/qemu-system-x86_64"]
    for folder in (f"{root}/usr/share/qemu", f"{root}/usr/share/seabios", "/usr/lib/ipxe/qemu",
                   "/usr/share/qemu"):
        words += ["-L", folder]
    return words, {**os.environ, "LD_LIBRARY_PATH": str(libraries),
                   "QEMU_MODULE_DIR": str(libraries / "qemu")}


@functools.cache
def images():
    """The kernel and the initramfs, made once; skips where they cannot be had."""
    vds.need("qemu-system-x86_64", "gzip")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vds-guest-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = subprocess.run([HERE / "make-initrd", folder / "initrd.gz", *programs(folder)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if made.returncode == 77:
        vds.skip(made.stderr.strip())
    if made.returncode != 0:
        raise RuntimeError(f"no initramfs: {made.stderr}")
    return made.stdout.strip(), folder / "initrd.gz"


def programs(folder):
    """What a shell cannot do, as static programs."""
    made = []
    for source in sorted(HERE.glob("in-guest-*.c")):
        program = folder / source.stem
        subprocess.run([os.environ.get("CC", "cc"), "-O1", "-static", "-o", program, source],
                       check=True)
        made.append(program)
    return made


class Shell:
    """The guest's serial line: one command after the other."""

    MARK = re.compile(rb"__END__(\d+)__\r?\n")

    def __init__(self, path):
        self.sock = vds.connect(path)
        self.seen = b""

    def read_until(self, pattern, seconds):
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            try:
                piece = self.sock.recv(1 << 16)
            except TimeoutError:
                piece = b""
            if not piece:
                raise RuntimeError(f"{pattern!r} did not come; the guest said:\n"
                                   + self.seen[-4000:].decode(errors="replace"))
            self.seen += piece
        before, self.seen = self.seen[:found.start()], self.seen[found.end():]
        return before, found

    def start(self, line):
        # The quotes keep an echo of the line from looking like the mark.
        self.sock.sendall(line.encode() + b'; echo "__E""ND__$?__"\n')

    def finish(self, seconds):
        """The output and the exit status of what was started."""
        output, mark = self.read_until(self.MARK, seconds)
        return output.decode(errors="replace").replace("\r\n", "\n"), int(mark[1])


class Guest:
    """Boots at once, unless boot=False: boot() does it then, and a guest that fails to boot
    stays to be looked at.  {dir} in an argument is the guest's private folder."""

    def __init__(self, *args, smp=2, qmp_timeout=60, boot=True):
        kernel, initrd = images()
        words, environment = emulator()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="vds-qemu-"))
        self.stderr_file = open(self.dir / "stderr", "w+b")
        self.started = time.monotonic()
        self.proc = subprocess.Popen(
            [*words, "-accel", "tcg", "-smp", str(smp), "-m", MEMORY, "-nodefaults",
             "-display", "none", "-no-reboot",
             "-object", f"memory-backend-memfd,id=ram0,share=on,size={MEMORY}",
             "-machine", "q35,memory-backend=ram0",
             "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off",
             "-chardev", f"socket,id=ser,path={self.dir}/ser,server=on,wait=off",
             "-serial", "chardev:ser",
             "-kernel", kernel, "-initrd", str(initrd), "-append", "console=ttyS0 quiet",
             *[str(arg).replace("{dir}", str(self.dir)) for arg in args]],
            stdin=subprocess.DEVNULL, stderr=self.stderr_file, env=environment)
        try:
            self.wait_for(self.dir / "qmp")
            self.wait_for(self.dir / "ser")
            self.shell = Shell(self.dir / "ser")
            self.qmp = vds.Client(self.dir / "qmp")
            self.qmp.sock.settimeout(qmp_timeout)
            if boot:
                self.boot()
        except BaseException:
            self.close()
            raise

    def wait_for(self, path):
        end = time.monotonic() + vds.TIMEOUT
        while not path.exists():
            if self.proc.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"QEMU does not offer {path.name}: {self.stderr()}")
            time.sleep(0.01)

    def boot(self):
        self.shell.read_until(rb"GUEST-UP \S+", BOOT_SECONDS)
        self.boot_seconds = time.monotonic() - self.started
        self.plain_shell()

    def plain_shell(self):
        """No echo, no prompt, no line editor: with its editor busybox 1.35 takes the end of a
        job in the background for the end of input, and leaves."""
        self.shell.sock.sendall(b'stty -echo; echo "__PL""AIN__"; exec sh /dev/ttyS0\n')
        self.shell.read_until(rb"__PLAIN__\r?\n", vds.TIMEOUT)
        self.sh("true")

    def stderr(self):
        return (self.dir / "stderr").read_text(errors="replace")

    def try_sh(self, line, seconds=60):
        """Output and exit status."""
        self.shell.start(line)
        return self.shell.finish(seconds)

    def sh(self, line, seconds=60):
        output, status = self.try_sh(line, seconds)
        if status != 0:
            raise AssertionError(f"in the guest: {line!r} gave {status}:\n{output}")
        return output.strip()

    def start(self, line):
        """Begins a command; finish() waits for it."""
        self.shell.start(line)

    def finish(self, seconds=60):
        output, status = self.shell.finish(seconds)
        if status != 0:
            raise AssertionError(f"in the guest: status {status}:\n{output}")
        return output.strip()

    def close(self):
        self.proc.kill()
        self.proc.wait()
        self.stderr_file.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            sys.stderr.write(self.stderr())
        self.close()
