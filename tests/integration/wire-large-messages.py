"""A message of a megabyte is answered, one beyond it is refused, and neither leaves its
memory with a client that is idle afterwards."""

from wire import Daemon, equal, run

REFUSED = {'error': {'class': 'GenericError', 'desc': 'JSON token size limit exceeded'}}
TOO_MANY = {'error': {'class': 'GenericError', 'desc': 'JSON token count limit exceeded'}}


def test():
    with Daemon() as daemon:
        clients = [daemon.negotiated() for _ in range(60)]
        before = daemon.resident_kib()
        for client in clients:
            text = 'x' * 1000000
            client.send(f'{{"execute": "query-name", "id": "{text}"}}')
            equal(client.message(), {'return': {}, 'id': text})
            client.send(f'{{"execute": "query-name", "id": [{"1, " * 30000}1]}}')
            equal(len(client.message()['id']), 30001)
        assert not daemon.has_grown(before, 8 << 10)
        for client in clients:
            client.send('"' + 'x' * (1 << 20) + 'x' * 1000 + '"\n')
            equal(client.message(), REFUSED)
            client.send('\n[' + '1, ' * 40000 + '1]\n')
            equal(client.message(), TOO_MANY)
        assert not daemon.has_grown(before, 8 << 10)


run(test)
