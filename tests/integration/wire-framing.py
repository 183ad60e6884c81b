"""A message ends where its brackets balance: no newline is needed, several may come in one
write and one in many."""

from wire import Daemon, equal, run

ASK = '{"execute": "query-name", "id": %d}'


def test():
    with Daemon() as daemon, daemon.negotiated() as client:
        client.send(ASK % 1)
        equal(client.message(), {'return': {}, 'id': 1})
        client.send((ASK % 2) + (ASK % 3) + ' \r\n\t' + (ASK % 4))
        for number in (2, 3, 4):
            equal(client.message(), {'return': {}, 'id': number})
        for byte in ASK % 5:
            client.send(byte)
        equal(client.message(), {'return': {}, 'id': 5})


run(test)
