"""A client that sends and does not read is not read from either: memory stays bounded, the
others are served, and it gets every answer when it reads at last."""

import socket

from wire import Daemon, equal, run

ASK = b'{"execute": "query-qmp-schema"}'


def flood(client):
    """Sends until nothing more is taken for a while; returns the bytes sent."""
    sent = 0
    client.sock.settimeout(0.5)
    try:
        while True:
            sent += client.sock.send((ASK * 1000)[sent % len(ASK):])
    except socket.timeout:
        client.sock.settimeout(10)
        return sent


def test():
    with Daemon() as daemon, daemon.negotiated() as deaf, daemon.negotiated() as other:
        other.execute('query-qmp-schema')
        before = daemon.resident_kib()
        sent = flood(deaf)
        assert sent < 4 << 20, sent
        assert not daemon.has_grown(before, 8 << 10)
        equal(other.execute('query-name'), {'return': {}})
        for _ in range(sent // len(ASK)):
            assert deaf.line().startswith('{"return": [{')
        deaf.send(ASK[sent % len(ASK):] if sent % len(ASK) else ASK)
        assert deaf.line().startswith('{"return": [{')
        assert deaf.silent()


run(test)
