#!/usr/bin/env python3
"""Events about served devices: a front-end connects and leaves, a device breaks; bounded
when a front-end does so again and again, with the last state told; and properties that say
who waits and what is missing."""

import time

import vds
from front import GET_FEATURES, SET_FEATURES, Front
from vds import equal, run

PATH = "/machine/peripheral/rng0/virtio-backend"
EVENTS = ("VHOST_USER_CONNECTED", "VHOST_USER_DISCONNECTED", "VIRTQUEUE_ERROR")


def served():
    return vds.Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/sock")


def get(client, name):
    return client.command("qom-get", path=PATH, property=name)


def until(what, client, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, client.events
        client.command("query-status")
        time.sleep(0.01)


def named(client, name):
    return [event["data"] for event in client.events if event["event"] == name]


def test_coming_breaking_leaving():
    with served() as daemon:
        client = daemon.client()
        where = {"device": "rng0", "qom-path": PATH}
        with Front(daemon.dir / "sock") as front:
            front.start()
            front.offer(99)
            front.kick()
            equal(client.event("VIRTQUEUE_ERROR")["data"],
                  {**where, "virtqueue": 0, "error": "vhost-vring-error",
                   "description": "S1: head 99 is outside the ring of 16, in queue 0"})
        socket = {"socket": str(daemon.dir / "sock"), "connection": 1}
        equal(client.event("VHOST_USER_DISCONNECTED")["data"], {**where, **socket})
        equal(named(client, "VHOST_USER_CONNECTED"), [{**where, **socket}])
        with Front(daemon.dir / "sock") as front:
            front.send(99)
            reason = client.event("VHOST_USER_DISCONNECTED")["data"]["reason"]
            equal(reason, get(client, "vhost-user-disconnect-reason"))
            assert reason.startswith("V2: "), reason


def test_schema():
    with served() as daemon:
        schema = daemon.client().command("query-qmp-schema")
        names = {entry["name"] for entry in schema if entry["meta-type"] == "event"}
        assert names.issuperset(EVENTS), names


def test_many_connections():
    """Four events at once, then one a second; the last one is the last state."""
    with served() as daemon:
        client = daemon.client()
        begun = time.monotonic()
        n = 400
        for _ in range(n):
            with Front(daemon.dir / "sock"):
                pass
        until(lambda: get(client, "vhost-user-connections") == n, client)
        until(lambda: any(data["connection"] == n for data in
                          named(client, "VHOST_USER_DISCONNECTED")), client)
        seconds = time.monotonic() - begun
        equal(client.events[-1]["event"], "VHOST_USER_DISCONNECTED")
        assert len(client.events) <= 4 + seconds + 1, (len(client.events), seconds)
        equal([event["data"]["connection"] for event in client.events[:4]], [1, 1, 2, 2])
        lines = daemon.stderr().splitlines()
        equal(len(lines), 10)
        time.sleep(1.2)  # a second of quiet: at once again
        client.events.clear()
        with Front(daemon.dir / "sock"):
            until(lambda: named(client, "VHOST_USER_CONNECTED"), client, seconds=0.7)


def test_breaking_again_and_again():
    with served() as daemon:
        client = daemon.client()
        begun = time.monotonic()
        for n in range(60):
            with Front(daemon.dir / "sock") as front:
                front.start()
                front.offer(100 + n)
                front.kick()
                until(lambda: f"head {100 + n}" in get(client, "broken-reason"), client)
        until(lambda: any("head 159" in data["description"] for data in
                          named(client, "VIRTQUEUE_ERROR")), client)
        seconds = time.monotonic() - begun
        errors = named(client, "VIRTQUEUE_ERROR")
        assert len(errors) <= 4 + seconds + 1, (len(errors), seconds)
        lines = [line for line in daemon.stderr().splitlines() if "is broken" in line]
        equal(len(lines), 10)


def test_who_waits():
    with served() as daemon:
        client = daemon.client()
        with Front(daemon.dir / "sock") as front:
            front.ask_u64(GET_FEATURES)
            equal(get(client, "vhost-user-waiting"), 0)
            others = [Front(daemon.dir / "sock") for _ in range(12)]
            until(lambda: get(client, "vhost-user-waiting") == 8, client)
            until(lambda: "another front-end" in daemon.stderr(), client)
            for other in others[1:]:
                other.close()
            until(lambda: get(client, "vhost-user-waiting") == 1, client)
        others[0].ask_u64(GET_FEATURES)  # it is served now
        equal(get(client, "vhost-user-waiting"), 0)
        others[0].close()


def test_hints():
    with served() as daemon:
        client = daemon.client()
        with Front(daemon.dir / "sock") as front:
            equal(get(client, "vhost-user-hint"), "")
            until(lambda: get(client, "vhost-user-hint"), client)
            assert "is the peer a back-end, too?" in get(client, "vhost-user-hint")
            features = front.ask_u64(GET_FEATURES)
            equal(get(client, "vhost-user-hint"), "")
            front.send(SET_FEATURES, features.to_bytes(8, "little"))
            until(lambda: "share=on" in get(client, "vhost-user-hint"), client)
        until(lambda: get(client, "vhost-user-hint") == "", client)
        text = daemon.stderr()
        assert "is the peer a back-end, too?" in text and "share=on" in text, text


run(test_coming_breaking_leaving, test_schema, test_many_connections,
    test_breaking_again_and_again, test_who_waits, test_hints)
