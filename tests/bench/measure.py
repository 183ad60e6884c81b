"""What the benchmarks have in common: the C client, requests as files, a server's own
processor time and memory, and rows of a table with their aims."""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import peers  # pylint: disable=wrong-import-position

missed = []


def request_file(folder, command, **arguments):
    path = folder / f"{command}.json"
    request = {"execute": command}
    if arguments:
        request["arguments"] = arguments
    path.write_text(json.dumps(request) + "\n")
    return path


class Median:
    """One server's line of the client's output."""

    def __init__(self, words):
        self.name = words[0]
        self.latency_ns, self.rate_per_s, self.queries, self.reply_bytes = map(int, words[1:])


def place(pids, cpu):
    """Keeps the processes on one processor: where the scheduler would have them decides
    more than what they do."""
    for pid in pids:
        os.sched_setaffinity(pid, {cpu})


def place_threads(pid, cpu):
    place([int(task) for task in os.listdir(f"/proc/{pid}/task")], cpu)


def processors():
    """The two that client and server are put on; the same twice where there is one."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0], cpus[-1]


@contextlib.contextmanager
def awake(cpus):
    """Keeps processors from sleeping, by work that gives way to any other: how long one of a
    virtual machine takes to wake is more than a request takes, and it is not ours."""
    idle = os.sched_param(0)
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"],
                                 preexec_fn=lambda cpu=cpu: (os.sched_setscheduler(0, os.SCHED_IDLE, idle),
                                                             os.sched_setaffinity(0, {cpu})))
                for cpu in sorted(set(cpus))]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


COUNT = """
import time
end, n = time.monotonic() + 0.3, 0
while time.monotonic() < end:
    n += 1
print(n)
"""


def counted(cpus):
    """How far one program a processor counts, at the same time, together."""
    argv = [["taskset", "-c", str(cpu), sys.executable, "-c", COUNT] for cpu in cpus]
    counters = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for words in argv]
    return sum(int(counter.communicate()[0]) for counter in counters)


def worth_of_two():
    """What the two processors do together, compared with one: 2 on a machine, and less where
    they are shares of something else."""
    first, last = processors()
    return statistics.median(counted({first, last}) / counted({first}) for _ in range(3))


def rounds(client, request, servers, depth, count=15, slice_ms=60):
    """{name: Median} of the servers {name: socket}, taking turns."""
    argv = [client, "rounds", str(count), str(slice_ms), str(depth), request]
    argv += [f"{name}={sock}" for name, sock in servers.items()]
    argv = ["taskset", "-c", str(processors()[0]), *argv]
    out = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return {median.name: median for median in map(Median, map(str.split, out.splitlines()))}


def processor_ns(pid):
    """What the process and all its threads have run so far."""
    tasks = pathlib.Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def row(name, value, unit, aim=None, at_least=False):
    """Prints one measurement for eyes and, after `#`, for programs."""
    met = aim is None or (value >= aim if at_least else value <= aim)
    if not met:
        missed.append(name)
    bound = "" if aim is None else f"{'>=' if at_least else '<='} {aim:g}"
    mark = "" if aim is None else ("met" if met else "MISSED")
    print(f"{name:<58} {value:>12.2f} {unit:<8} {bound:<12} {mark}")
    print(f"# {json.dumps({'name': name, 'value': round(value, 3), 'unit': unit, 'aim': aim, 'met': met})}")
    sys.stdout.flush()


def done():
    """The exit status: a missed aim is a fact, and a failure only when asked for."""
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed and os.environ.get("VDS_BENCH_STRICT") else 0


__all__ = ["peers"]
