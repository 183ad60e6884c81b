"""DPDK's testpmd, driven through its prompt.

    with Testpmd("--vdev", "net_virtio_user0,path=...", ports=1) as pmd:
        pmd.command("start tx_first 4")
        pmd.stats(0)["RX-packets"]

No hugepages: its memory is a memfd.  Owns the process.  Knows nothing of what a test
expects.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import vds  # noqa: E402  pylint: disable=wrong-import-position

PROGRAM = "dpdk-testpmd"
PROMPT = "testpmd> "
START_SECONDS = 90


class Testpmd:
    def __init__(self, *eal, app=(), cores="0,1", main_core="0", memory_mib=128,
                 wait_for_prompt=True):
        if not shutil.which(PROGRAM):
            vds.skip(f"{PROGRAM} is not installed (dpdk-dev)")
        self.folder = tempfile.mkdtemp(prefix="vds-dpdk-")
        cores = cores if (os.cpu_count() or 1) > 1 else "0"
        self.proc = subprocess.Popen(
            ["stdbuf", "-oL", PROGRAM, "-l", cores, "--main-lcore", main_core, "--no-pci", "--no-huge",
             "-m", str(memory_mib), "--no-telemetry", "--file-prefix", f"vds{os.getpid()}-{id(self)}",
             *map(str, eal), "--", "-i", "--total-num-mbufs=8192", "--forward-mode=io",
             "--nb-cores=1", *map(str, app)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "RUNTIME_DIRECTORY": self.folder})
        self.said = ""
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()
        if wait_for_prompt:
            self.ready()

    def listen(self):
        while piece := os.read(self.proc.stdout.fileno(), 1 << 16):
            with self.changed:
                self.said += piece.decode(errors="replace")
                self.changed.notify_all()
        with self.changed:
            self.said += "\n(testpmd has ended)\n"
            self.changed.notify_all()

    def until(self, text, seconds=START_SECONDS):
        """What it said up to `text`, which is taken away."""
        end = time.monotonic() + seconds
        with self.changed:
            while text not in self.said:
                left = end - time.monotonic()
                if left <= 0 or "(testpmd has ended)" in self.said:
                    raise RuntimeError(f"testpmd did not say {text!r}:\n{self.said[-4000:]}")
                self.changed.wait(left)
            before, _, self.said = self.said.partition(text)
            return before

    def ready(self):
        return self.until(PROMPT)

    def command(self, line, seconds=START_SECONDS):
        """Its answer, up to the next prompt."""
        self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()
        return self.until(PROMPT, seconds)

    def stats(self, port):
        text = self.command(f"show port stats {port}")
        return {name: int(value) for name, value in re.findall(r"([RT]X-[a-z]+): +(\d+)", text)}

    def close(self):
        try:
            if self.proc.poll() is None:
                self.proc.stdin.write(b"quit\n")
                self.proc.stdin.close()
                self.proc.wait(30)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.proc.kill()
        finally:
            self.proc.kill()
            self.proc.wait()
            self.reader.join(10)
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            sys.stderr.write(self.said[-4000:])
        self.close()
