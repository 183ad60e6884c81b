"""Clients that come and go, in whatever state, leave no descriptor behind."""

import socket

from wire import Daemon, equal, run, until

LAST_WORDS = (
    b'',
    b'{',
    b'{"execute": "qmp_capabilities"}',
    b'{"execute": "qmp_capabilities"}{"execute": "query-qmp-schema"}' * 3,
    b'\xff' * 100,
)


def test():
    with Daemon() as daemon, daemon.negotiated() as client:
        before = daemon.n_fds()
        for number in range(300):
            with daemon.client() as other:
                other.send(LAST_WORDS[number % len(LAST_WORDS)])
                if number % 2:
                    other.sock.shutdown(socket.SHUT_WR)
        assert until(lambda: daemon.n_fds() == before), (daemon.n_fds(), before)
        # The count itself works: one more client is one more descriptor.
        with daemon.negotiated():
            equal(daemon.n_fds(), before + 1)
        equal(client.execute('query-name'), {'return': {}})


run(test)
