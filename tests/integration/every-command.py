#!/usr/bin/env python3
"""Every listed command answers, with no and with wrong arguments; what is listed is what is
answered; and every member that the schema gives a reply is seen in some reply."""

from vds import Daemon, QmpError, ROOT, equal, run

RINGS = ROOT / "tests" / "golden" / "rings"
DEVICES = ["-device", "virtio-balloon-pci,id=balloon0",
           "-blockdev", "null-co,node-name=grows,size=1M",
           "-device", "virtio-blk-pci,id=live1,drive=grows",
           "-object", "iothread,id=io0", "-device", "virtio-net-pci,id=nic0",
           "-blockdev", f"file,node-name=disk0,read-only=on,filename={RINGS / 'split.vds'}",
           "-device", "virtio-blk-pci,id=live0,drive=disk0,iothread=io0",
           "-name", "guest1", "-uuid", "12345678-9abc-def0-1234-56789abcdef0",
           "-device", f"virtio-replay,id=split,file={RINGS / 'split.vds'}",
           "-device", f"virtio-replay,id=vhost,prefix=/v,file={RINGS / 'vhost-net.vds'}",
           "-device", f"virtio-replay,id=odd,prefix=/o,file={RINGS / 'odd.vds'}"]
NET = "/machine/peripheral/net0/virtio-backend"

# What to ask so that a command succeeds; the others need nothing.
GOOD = {
    "balloon": [{"value": 32 << 20}],
    "block-latency-histogram-set": [{"id": "live1", "boundaries": [1000]},
                                    {"id": "live1", "boundaries-read": [5], "boundaries-write": [5],
                                     "boundaries-flush": [5]}],
    "blockdev-add": [{"driver": "null-co", "node-name": "plugged"}],
    "blockdev-del": [{"node-name": "plugged"}],
    "block_resize": [{"node-name": "grows", "size": 2 << 20}],
    "chardev-add": [{"id": "plugged", "backend": {"type": "pty", "data": {}}}],
    "chardev-remove": [{"id": "plugged"}],
    "closefd": [],  # needs a descriptor: hotplug-descriptors
    "getfd": [],
    "netdev_add": [{"type": "user", "id": "plugged"}],
    "netdev_del": [{"id": "plugged"}],
    "object-add": [{"qom-type": "rng-random", "id": "plugged"}],
    "object-del": [{"id": "plugged"}],
    "device_add": [{"driver": "virtio-replay", "id": "again", "prefix": "/again",
                    "file": str(RINGS / "packed.vds")}],
    "device_del": [{"id": "again"}],
    "device-list-properties": [{"typename": "virtio-rng-pci"}],
    "migrate-set-capabilities": [{"capabilities": [{"capability": "events",
                                                    "state": True}]}],
    "query-blockstats": [{}, {"query-nodes": True}],
    "query-command-line-options": [{}, {"option": "m"}],
    "human-monitor-command": [{"command-line": "info version", "cpu-index": 0}],
    "qmp_capabilities": [],  # once is enough: the client negotiated
    "qom-get": [{"path": "/machine", "property": "type"}],
    "qom-set": [{"path": "balloon0", "property": "guest-stats-polling-interval", "value": 1}],
    "qom-list": [{"path": "/machine/peripheral"}],
    "qom-list-properties": [{"typename": "virtio-replay"}, {"typename": "nonesuch"}],
    "qom-list-types": [{"abstract": True}, {"implements": "device"}],
    "set_link": [{"name": "nic0", "up": False}],
    "x-query-virtio-status": [{"path": NET}, {"path": "/v" + NET},
                              {"path": "/o/machine/peripheral/odd0/virtio-backend"}],
    "x-query-virtio-queue-status": [{"path": NET, "queue": 0}],
    "x-query-virtio-vhost-queue-status": [{"path": "/v" + NET, "queue": 1}],
    "x-query-virtio-queue-element": [{"path": NET, "queue": 0, "index": 3},
                                     {"path": NET, "queue": 1}],
    "quit": [],  # has tests of its own, as the next
    "system_powerdown": [],
}
ENDS = {"quit", "system_powerdown"}
# Members of query-qmp-schema's reply that nothing we list has: no command of ours may run out
# of band, and no member of a type is marked.
ABSENT = {"allow-oob", "features"}
# Replies that are always empty lists: no command starts a job, there is no processor.
NEVER = {"query-jobs", "query-cpu-definitions"}


class Schema:
    def __init__(self, client):
        self.entries = client.command("query-qmp-schema")
        self.by_name = {}
        for entry in self.entries:
            assert (entry["name"], entry["meta-type"]) not in self.by_name
            self.by_name[entry["name"], entry["meta-type"]] = entry

    def commands(self):
        return {e["name"]: e for e in self.entries if e["meta-type"] == "command"}

    def type(self, name):
        for (entry, meta), value in self.by_name.items():
            if entry == name and meta not in ("command", "event"):
                return value
        raise AssertionError(f"type {name} is not in the schema")

    def members(self, name, value=None):
        """Members of an object type; of a union, with those that the value's tag selects,
        or of every variant."""
        entry = self.type(name)
        members = list(entry["members"])
        for variant in entry.get("variants", []):
            if value is None or value[entry["tag"]] == variant["case"]:
                members += self.type(variant["type"])["members"]
        return members


def walk(schema, name, value, seen, where):
    """Holds the value against the type, and notes which members were there."""
    entry = schema.type(name)
    meta = entry["meta-type"]
    if meta == "array":
        assert isinstance(value, list), where
        for item in value:
            walk(schema, entry["element-type"], item, seen, where)
        seen.setdefault(entry["element-type"], set())
    elif meta == "object":
        members = {m["name"]: m for m in schema.members(name, value)}
        extra = value.keys() - members.keys()
        assert not extra, f"{where}: {extra} is not in the schema"
        for member in members.values():
            if "default" not in member:
                assert member["name"] in value, f"{where}: {member['name']} is missing"
        seen.setdefault(name, set()).update(value)
        for key, inner in value.items():
            walk(schema, members[key]["type"], inner, seen, f"{where}.{key}")
    elif meta == "enum":
        assert value in [m["name"] for m in entry.get("members", [])] + \
            entry.get("values", []), f"{where}: {value}"
    elif meta == "builtin":
        kinds = {"string": str, "boolean": bool, "int": int, "number": (int, float)}
        if entry["json-type"] in kinds:
            assert isinstance(value, kinds[entry["json-type"]]), f"{where}: {value!r}"


def ask_everything(client, schema):
    """Asks each command all its good requests; returns the members seen by type."""
    seen = {}
    for name, entry in schema.commands().items():
        for arguments in GOOD.get(name, [{}]):
            reply = client.ask({"execute": name, "arguments": arguments})
            assert "return" in reply, f"{name} {arguments}: {reply}"
            if name in NEVER:
                equal(reply["return"], [], name)
            else:
                walk(schema, entry["ret-type"], reply["return"], seen, name)
    return seen


def test_listed_is_answered_and_answered_is_listed():
    with Daemon(*DEVICES) as daemon:
        client = daemon.client()
        schema = Schema(client)
        listed = [c["name"] for c in client.command("query-commands")]
        equal(sorted(listed), sorted(schema.commands()))
        equal(set(GOOD) - set(listed), set(), "the test asks what is not there")
        for name in listed:
            if name not in ENDS:
                reply = client.ask({"execute": name})
                text = str(reply.get("error", {}).get("desc"))
                assert "has not been found" not in text, f"{name}: {reply}"


def test_every_reply_fits_its_schema_and_every_member_is_seen():
    with Daemon(*DEVICES) as daemon:
        client = daemon.client()
        schema = Schema(client)
        seen = ask_everything(client, schema)
        missing = []
        for name, found in seen.items():
            if schema.type(name)["meta-type"] != "object":
                continue
            wanted = {m["name"] for m in schema.members(name)}
            missing += [f"{name}.{member}" for member in sorted(wanted - found - ABSENT)]
        equal(missing, [])


def wrong_values(kind):
    return [None, [], {}, 1.5, "x" * 3000 if kind != "str" else 7, -1, 1 << 64, True]


def test_wrong_arguments_are_refused_and_change_nothing():
    with Daemon(*DEVICES) as daemon:
        client = daemon.client()
        schema = Schema(client)
        before = client.command("x-query-virtio")
        for name, entry in schema.commands().items():
            members = schema.members(entry["arg-type"])
            requests = [{"nonesuch": 1}]
            good = (GOOD.get(name) or [{}])[0]
            for member in members:
                if (name, member["name"]) == ("device_add", "id"):
                    continue  # any scalar is a word there, as in QEMU
                for value in wrong_values(member["type"]):
                    requests.append({**good, member["name"]: value})
                if "default" not in member:
                    requests.append({k: v for k, v in good.items() if k != member["name"]})
            for arguments in requests:
                if name in ("device_add", "qmp_capabilities") and "nonesuch" in arguments:
                    continue
                reply = client.ask({"execute": name, "arguments": arguments, "id": [name]})
                equal(reply.get("id"), [name])
                if "nonesuch" in arguments:
                    assert "error" in reply, f"{name} {arguments}"
                if "error" in reply:
                    assert len(reply["error"]["desc"]) < 400, reply
            equal(client.command("x-query-virtio"), before, name)


def test_arguments_must_be_an_object():
    with Daemon(*DEVICES) as daemon:
        client = daemon.client()
        for entry in client.command("query-commands"):
            for bad in (None, 1, "x", []):
                reply = client.ask({"execute": entry["name"], "arguments": bad})
                equal(reply, {"error": {
                    "class": "GenericError",
                    "desc": "QMP input member 'arguments' must be an object"}})


def test_a_device_with_too_many_properties_is_refused():
    with Daemon() as daemon:
        many = {f"p{i}": 1 for i in range(2000)}
        deep = 1
        for _ in range(40):
            deep = {"x": deep}
        for arguments in (many, {"deep": deep}, {"empty": []}, {"bus": {}}):
            reply = daemon.client().ask({"execute": "device_add", "arguments": {
                "driver": "virtio-rng-pci", **arguments}})
            equal(reply["error"]["class"], "GenericError")
        equal(daemon.client().command("x-query-virtio"), [])


if __name__ == "__main__":
    run(test_listed_is_answered_and_answered_is_listed,
        test_every_reply_fits_its_schema_and_every_member_is_seen,
        test_wrong_arguments_are_refused_and_change_nothing,
        test_arguments_must_be_an_object,
        test_a_device_with_too_many_properties_is_refused)
