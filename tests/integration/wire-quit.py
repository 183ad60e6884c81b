"""quit: every session hears SHUTDOWN, the one that asked its reply, then all streams end;
exit status 0, and the socket file is gone."""

import os

from wire import Daemon, equal, run


def test():
    with Daemon() as daemon, daemon.negotiated() as client, daemon.negotiated() as other:
        client.send('{"execute": "quit", "id": "bye"}\n')
        event = client.message()
        equal((event['event'], event['data']),
              ('SHUTDOWN', {'guest': False, 'reason': 'host-qmp-quit'}))
        equal(client.line(), '{"return": {}, "id": "bye"}')
        equal(client.rest(), b'')
        equal(other.message()['event'], 'SHUTDOWN')
        equal(other.rest(), b'')
        equal(daemon.status(), 0)
        assert not os.path.exists(daemon.path)


run(test)
