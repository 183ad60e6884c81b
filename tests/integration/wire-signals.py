"""SIGTERM, SIGINT and SIGHUP: SHUTDOWN to the negotiated, the end of every stream, exit
status 0, and the socket file is gone."""

import os
import signal

from wire import Daemon, equal, run


def test():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with Daemon() as daemon, daemon.negotiated() as client, daemon.client() as other:
            other.message()
            daemon.proc.send_signal(number)
            event = client.message()
            equal((event['event'], event['data']),
                  ('SHUTDOWN', {'guest': False, 'reason': 'host-signal'}))
            equal(client.rest(), b'')
            equal(other.rest(), b'')
            equal(daemon.status(), 0)
            assert not os.path.exists(daemon.path)


run(test)
