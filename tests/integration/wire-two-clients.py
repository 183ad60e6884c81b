"""Each client of one socket has a session of its own (QEMU serves one at a time)."""

from wire import Daemon, equal, run


def test():
    with Daemon() as daemon, daemon.negotiated() as first, daemon.client() as second:
        second.message()
        second.send('{"execute": "query-name"}\n')
        equal(second.message()['error']['class'], 'CommandNotFound')
        equal(first.execute('query-name'), {'return': {}})
        second.send('{"execute": "qmp_capabilities"}\n')
        equal(second.message(), {'return': {}})
        first.close()
        equal(second.execute('query-name'), {'return': {}})
        # The next one on the same socket starts from the beginning.
        with daemon.client() as third:
            third.message()
            equal(third.execute('query-name')['error']['class'], 'CommandNotFound')


run(test)
