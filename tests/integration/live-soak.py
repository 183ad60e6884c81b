#!/usr/bin/env python3
"""24 devices under load, 32 clients that query every queue of every device in a loop, and
hot plug, stop, cont and system_reset at random: no workload meets an error, no answer is
wrong or torn, and neither memory nor descriptors grow.

    live-soak.py [SECONDS [SEED]]

SECONDS is by default what VDS_SOAK_SECONDS says, else 10.  What a sanitizer keeps is no
growth: with VDS_SANITIZED set (to anything but none), memory is not looked at."""

import collections
import json
import os
import random
import re
import sys
import threading
import time

from vds import Daemon, QmpError, equal, run

SECONDS = float(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("VDS_SOAK_SECONDS") or 10)
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
SANITIZED = os.environ.get("VDS_SANITIZED", "none") != "none"

CLIENTS = 32
HOT = 6                     # at most so many devices beside the 24
RAM = 256 << 20
GROWTH = 4 << 20            # what allocators may keep beside: bytes
PATIENCE = 60 if SANITIZED else 20
PERIPHERAL = "/machine/peripheral/"
BACKEND = "/virtio-backend"

RINGS = ({}, {"packed": True}, {"event_idx": False}, {"indirect_desc": False},
         {"packed": True, "event_idx": False, "indirect_desc": False})
# Each kind with the ring sizes that its device has, by queue; the last one goes on.
NUMS = {
    "blk": (256,),
    "net": (256, 256, 64),
    "rng": (8,),
    "serial": (128, 128, 32, 32, 128),
    "balloon": (128,),
}
KINDS = tuple(NUMS)
DESC_FLAGS = {"next", "write", "indirect", "avail", "used"}

# What an element of a ring in motion may be refused with.  A slot whose request is over
# may name a table whose memory has gone to something else.
MOVING = re.compile("Indirect |Cannot map indirect buffer|Region caches not initialized")
GONE = re.compile("Path .* is not a (realized )?VirtIO ?[Dd]evice|Device '.*' not found")


def name_of(kind, n, ring):
    """A device's id says of which kind it is and what its ring is like."""
    return f"{kind}-{n}-" + ("packed" if ring.get("packed") else "split") + (
        "-direct" if ring.get("indirect_desc") is False else "")


def props_of(kind, name, ring):
    return {"driver": f"virtio-{kind}-pci", "id": name, "workload": "light", "rate": 300, **ring}


def permanent():
    """24 devices: each kind with each ring, but for one, on three I/O threads; the network
    devices are two on one hub, three on another."""
    words = [word for n in range(3) for word in ("-object", f"iothread,id=t{n}")]
    names = []
    for i, (kind, ring) in enumerate([(k, r) for r in RINGS for k in KINDS][:24]):
        props = props_of(kind, name_of(kind, i, ring), ring)
        names.append(props["id"])
        if kind != "balloon" and i % 4:
            props["iothread"] = f"t{i % 4 - 1}"
        if kind == "net":
            words += ["-netdev", f"hubport,id=h{i},hubid={min(i // 10, 1)}"]
            props["netdev"] = f"h{i}"
        words += ["-device", json.dumps(props)]
        if kind == "serial":
            words += ["-chardev", f"null,id=c{i}", "-device",
                      f"virtconsole,bus={props['id']}.0,chardev=c{i}"]
    return words, names


# ---- what an answer must be -----------------------------------------------------------

def word(value, limit=65536):
    return type(value) is int and 0 <= value < limit


def check_status(path, answer):
    expected = path[len(PERIPHERAL):].split("-")[0]
    equal(answer["name"], "virtio-" + expected)
    assert not answer["broken"] and not answer["vhost-started"], answer
    assert not any("FAILED" in s or "NEEDS_RESET" in s for s in answer["status"]["statuses"]), answer


def check_queue(path, n, answer):
    kind, _, ring = path[len(PERIPHERAL):-len(BACKEND)].split("-")[:3]
    num = NUMS[kind][min(n, len(NUMS[kind]) - 1)]
    equal((answer["name"], answer["queue-index"]), ("virtio-" + kind, n), path)
    equal((answer["vring-num"], answer["vring-num-default"]), (num, num), path)
    for member in ("last-avail-idx", "shadow-avail-idx", "used-idx", "signalled-used"):
        assert word(answer[member]), (path, answer)
    assert 0 <= answer["inuse"] <= num, (path, answer)
    areas = [answer["vring-" + area] for area in ("desc", "avail", "used")]
    assert all(areas) or not any(areas), (path, answer)
    assert all(area < RAM for area in areas), (path, answer)
    if ring == "split":
        torn = (answer["used-idx"] + answer["inuse"] - answer["last-avail-idx"]) % 65536
        ahead = (answer["shadow-avail-idx"] - answer["last-avail-idx"]) % 65536
        assert torn == 0 and ahead <= num, (path, answer)


def check_element(path, n, asked, answer):
    kind, _, ring = path[len(PERIPHERAL):-len(BACKEND)].split("-")[:3]
    num = NUMS[kind][min(n, len(NUMS[kind]) - 1)]
    equal(answer["name"], "virtio-" + kind)
    assert word(answer["index"], 65536 if ring == "packed" else num), (path, asked, answer)
    if asked is not None and ring == "split":
        assert word(answer["avail"]["ring"], num), (path, answer)
    assert answer["descs"] and len(answer["descs"]) <= 65536, (path, answer)
    for desc in answer["descs"]:
        assert set(desc["flags"]) <= DESC_FLAGS and word(desc["len"], 1 << 32), (path, answer)
        assert word(desc["addr"], 1 << 64), (path, answer)
        if path.endswith("-direct" + BACKEND):
            # An entry is stored in two words, so the length may be of another request.
            assert desc["addr"] < RAM and desc["len"] < RAM, (path, answer)
    for area in ("avail", "used"):
        assert word(answer[area]["flags"]) and word(answer[area]["idx"]), (path, answer)


class Asker(threading.Thread):
    """Queries every queue of every device, again and again, a device's at a time."""

    def __init__(self, daemon, seed):
        super().__init__(daemon=True)
        self.client, self.chance = daemon.client(), random.Random(seed)
        self.go, self.idle, self.done = threading.Event(), threading.Event(), False
        self.fault, self.answers, self.refused = None, 0, collections.Counter()

    def run(self):
        try:
            while not self.done:
                if not self.go.is_set():
                    self.idle.set()
                    self.go.wait()
                    continue
                self.turn()
        except BaseException as fault: # for the test to raise
            self.fault = fault
        self.idle.set()

    def pause(self):
        self.go.clear()
        self.idle.wait(PATIENCE)

    def resume(self):
        self.idle.clear()
        self.go.set()

    def turn(self):
        rows = self.client.command("x-query-virtio")
        assert len(rows) >= 24, rows
        self.chance.shuffle(rows)
        for row in rows:
            if not self.go.is_set():
                break
            self.ask_device(row["path"])

    def ask_device(self, path):
        hot = path.startswith(PERIPHERAL + "hot") or "-hot" in path
        try:
            status = self.client.command("x-query-virtio-status", path=path)
        except QmpError as error:
            assert hot and GONE.fullmatch(str(error).split(": ", 1)[1]), error
            return
        check_status(path, status)
        questions = []
        for n in range(status["num-vqs"]):
            where = {"path": path, "queue": n}
            questions.append(("x-query-virtio-queue-status", where))
            questions.append(("x-query-virtio-queue-element", where))
            questions.append(("x-query-virtio-queue-element",
                              {**where, "index": self.chance.randrange(65536)}))
        self.client.send("".join(json.dumps({"execute": name, "arguments": args}) + "\n"
                                 for name, args in questions))
        for name, args in questions:
            self.take(name, args, hot)
        self.client.events.clear()

    def take(self, name, args, hot):
        reply = self.client.reply()
        self.answers += 1
        if "error" in reply:
            text = reply["error"]["desc"]
            allowed = name.endswith("element") and MOVING.match(text)
            assert allowed or hot and GONE.fullmatch(text), (args, reply)
            self.refused[re.sub(r"'[^']*'|\d+", "N", text)] += 1
        elif name.endswith("element"):
            check_element(args["path"], args["queue"], args.get("index"), reply["return"])
        else:
            check_queue(args["path"], args["queue"], reply["return"])


# ---- what happens to the machine -------------------------------------------------------

class Storm:
    """One client that does to the machine whatever it may."""

    def __init__(self, daemon, names, seed):
        self.daemon, self.client, self.names = daemon, daemon.client(), names
        self.chance, self.hot, self.made = random.Random(seed), [], 0
        self.did = collections.Counter()

    def get(self, name, prop):
        return self.client.command("qom-get", path=PERIPHERAL + name + BACKEND, property=prop)

    def check(self, name):
        if self.get(name, "guest-errors"):
            raise AssertionError(f"{name}: {self.get(name, 'guest-errors')} errors, the last: "
                                 + self.get(name, "guest-last-error"))
        equal(self.get(name, "broken-reason"), "", name)

    def add(self):
        if len(self.hot) == HOT:
            return self.remove()
        kind, ring = self.chance.choice(KINDS), self.chance.choice(RINGS)
        self.made += 1
        name = name_of(kind, f"hot{self.made}", ring)
        reply = self.client.ask({"execute": "device_add",
                                 "arguments": props_of(kind, name, ring)})
        equal(reply, {"return": {}}, name)
        self.hot.append(name)

    def remove(self):
        if not self.hot:
            return
        name = self.hot.pop(self.chance.randrange(len(self.hot)))
        self.check(name)
        self.client.command("device_del", id=name)
        while self.client.event("DEVICE_DELETED")["data"].get("device") != name:
            pass

    def stop_and_cont(self):
        self.client.command("stop")
        if self.chance.random() < 0.3:
            self.client.command("system_reset")
        if self.chance.random() < 0.3:
            self.add()
        time.sleep(self.chance.random() * 0.02)
        self.client.command("cont")

    def reset(self):
        self.client.command("system_reset")

    def check_all(self):
        for name in self.names + self.hot:
            self.check(name)

    def rage(self, seconds, askers):
        deeds = (self.add,) * 5 + (self.remove,) * 3 + (self.stop_and_cont,) * 2 + (
            self.reset, self.check_all)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            deed = self.chance.choice(deeds)
            deed()
            self.did[deed.__name__] += 1
            self.client.events.clear()
            raise_faults(askers)
            time.sleep(self.chance.random() * 0.1)

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {PATIENCE} s: {what}")
            time.sleep(0.02)

    def works(self, name):
        """It is driven, and requests come back."""
        path = PERIPHERAL + name + BACKEND

        def driven():
            status = self.client.command("x-query-virtio-status", path=path)["status"]
            return any("DRIVER_OK" in text for text in status["statuses"])

        self.until(driven, f"{name} is driven")
        before = self.get(name, "guest-requests")
        self.until(lambda: self.get(name, "guest-requests") > before, f"a request on {name}")

    def calm(self):
        """Back to the 24 devices, all at work."""
        while self.hot:
            self.remove()
        for name in self.names:
            self.works(name)
        self.check_all()
        equal(len(self.client.command("x-query-virtio")), len(self.names))


def raise_faults(askers):
    for asker in askers:
        if asker.fault:
            raise asker.fault


class Footprint:
    """What the program holds: descriptors, threads and bytes that are nobody else's."""

    def __init__(self, pid):
        self.fds = len(os.listdir(f"/proc/{pid}/fd"))
        with open(f"/proc/{pid}/status") as status:
            words = dict(line.split(":", 1) for line in status)
        self.threads = int(words["Threads"])
        self.bytes = int(words["RssAnon"].split()[0]) << 10

    def __str__(self):
        return f"{self.fds} descriptors, {self.threads} threads, {self.bytes >> 10} KiB"


def measure(storm, askers):
    for asker in askers:
        asker.pause()
    raise_faults(askers)
    storm.calm()
    return Footprint(storm.daemon.proc.pid)


def test_soak():
    words, names = permanent()
    chance = random.Random(SEED)
    print(f"# {SECONDS:g} s, seed {SEED}", flush=True)
    with Daemon("-m", f"{RAM >> 20}", *words) as daemon:
        storm = Storm(daemon, names, chance.random())
        askers = [Asker(daemon, chance.random()) for _ in range(CLIENTS)]
        for asker in askers:
            asker.start()
        found = []
        for share in (0.25, 0.75): # the first is what it takes to have met everything once
            for asker in askers:
                asker.resume()
            storm.rage(SECONDS * share, askers)
            found.append(measure(storm, askers))
            print(f"# {found[-1]}", flush=True)
        for asker in askers:
            asker.done = True
            asker.resume()
            asker.join(PATIENCE)
        raise_faults(askers)
        report(storm, askers)
        equal(found[1].fds, found[0].fds, "descriptors")
        assert SANITIZED or found[1].bytes - found[0].bytes <= GROWTH, [str(f) for f in found]


def report(storm, askers):
    refused = sum((asker.refused for asker in askers), collections.Counter())
    torn = sum(storm.get(name, "torn-count") for name in storm.names)
    served = sum(storm.get(name, "guest-requests") for name in storm.names)
    print(f"# {sum(asker.answers for asker in askers)} answers, {torn} of rings that never"
          f" stood still; {served} requests; {dict(storm.did)}")
    for text, times in refused.items():
        print(f"# {times} x {text}")
    assert all(asker.answers > 0 for asker in askers)


run(test_soak)
