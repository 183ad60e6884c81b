"""QEMU's answers about its half of a served device beside ours about the other half: what
differs, and what may.
"""

import fnmatch


def both(qemu, ours, command, **arguments):
    """What each answers to the same question."""
    def ask(client):
        reply = client.ask({"execute": command, "arguments": arguments})
        return reply.get("return", {"error": reply.get("error")})

    return ask(qemu), ask(ours)


def differences(theirs, ours, where=""):
    """The members that differ, as "a.b.c: theirs / ours"; lists of names by element."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted({*theirs, *ours}):
            here = f"{where}.{name}" if where else name
            if name not in theirs or name not in ours:
                yield here, theirs.get(name, "absent"), ours.get(name, "absent")
            else:
                yield from differences(theirs[name], ours[name], here)
    elif isinstance(theirs, list) and isinstance(ours, list) and all(
            isinstance(name, str) for name in theirs + ours):
        for name in sorted({*theirs} ^ {*ours}):  # "VIRTIO_X: what it means"
            has = name in theirs
            yield f"{where}.{name.split(':')[0]}", has, not has
    elif theirs != ours:
        yield where, theirs, ours


def compare(found, excused):
    """The differences that are not excused, and the excuses that were used."""
    used, bad = set(), []
    for where, theirs, ours in found:
        excuse = next((row for row in excused if fnmatch.fnmatchcase(where, row)), None)
        if excuse:
            used.add(excuse)
        else:
            bad.append(f"{where}: QEMU {theirs!r}, here {ours!r}")
    return bad, used


PROTOCOLS = "vhost-dev.protocol-features."
# Members of x-query-virtio-status that differ, and why.  "*" stands for any name.
STATUS_EXCUSED = {
    "host-features.*": "QEMU's is what its own device and ours offer together",
    "isr": "a register of the front-end's transport: we ring a descriptor",
    "queue-sel": "a register of the front-end's transport, which no message tells",
    PROTOCOLS + "protocols.VHOST_USER_PROTOCOL_F_SLAVE_REQ": "today's name is BACKEND_REQ",
    PROTOCOLS + "protocols.VHOST_USER_PROTOCOL_F_BACKEND_REQ": "QEMU 7.2 says SLAVE_REQ",
    PROTOCOLS + "protocols.VHOST_USER_PROTOCOL_F_STATUS": "QEMU 7.2 has no name for it",
    PROTOCOLS + "unknown-protocols": "QEMU 7.2 has no name for STATUS",
}

# QEMU asks the back-end for the index with GET_VRING_BASE, which stops the ring, and
# prints the message's return code; its own device saw no used entry; and the default size
# of a ring is each program's own.
QUEUE_EXCUSED = {"last-avail-idx", "used-idx", "shadow-avail-idx", "signalled-used",
                 "signalled-used-valid", "inuse", "vring-num-default"}
