"""Events go to every negotiated session and to no other, before the reply of the command
that caused them."""

from wire import Daemon, equal, run


def test():
    with Daemon() as daemon, daemon.negotiated() as first, \
            daemon.negotiated() as second, daemon.client() as stranger:
        stranger.message()
        for command, event in (('stop', 'STOP'), ('cont', 'RESUME')):
            first.send(f'{{"execute": "{command}", "id": 1}}')
            message = first.message()
            equal(list(message), ['timestamp', 'event'])
            equal(message['event'], event)
            equal(list(message['timestamp']), ['seconds', 'microseconds'])
            equal(first.message(), {'return': {}, 'id': 1})
            equal(second.message()['event'], event)
        assert stranger.silent()


run(test)
