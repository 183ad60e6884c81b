"""Requests that are sent without waiting are answered in their order."""

from wire import Daemon, equal, run


def test():
    with Daemon() as daemon, daemon.negotiated() as client:
        client.send(''.join(f'{{"execute":"query-name","id":{i}}}\n' for i in range(500)))
        for number in range(500):
            equal(client.message()['id'], number)


run(test)
