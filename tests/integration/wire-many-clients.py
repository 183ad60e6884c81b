"""256 clients on one socket are served; the next one waits until one leaves."""

from wire import Daemon, equal, run


def test():
    with Daemon() as daemon:
        clients = [daemon.negotiated() for _ in range(256)]
        late = daemon.client()
        assert late.silent()
        for client in clients:
            equal(client.execute('query-name'), {'return': {}})
        clients.pop().close()
        late.negotiate()
        for client in clients + [late]:
            client.close()


run(test)
