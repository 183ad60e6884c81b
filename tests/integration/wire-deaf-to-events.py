"""A client that does not read its events is cut off at last; the others lose nothing."""

from wire import Daemon, equal, run

ROUNDS = 15000  # two events each, about 180 bytes: over two megabytes


def test():
    with Daemon() as daemon, daemon.negotiated() as deaf, daemon.negotiated() as other:
        other.execute('query-name')
        before = daemon.resident_kib()
        for _ in range(ROUNDS // 100):
            other.send('{"execute": "stop"}{"execute": "cont"}' * 100)
            events = [other.message().get('event') for _ in range(400)]
            equal(events, ['STOP', None, 'RESUME', None] * 100)
        assert not daemon.has_grown(before, 8 << 10)
        assert deaf.rest().count(b'"event"') < 2 * ROUNDS
        equal(other.execute('query-name'), {'return': {}})


run(test)
