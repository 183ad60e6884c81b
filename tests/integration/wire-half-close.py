"""A client that sends and then closes its side, as socat does at the end of its input, gets
every answer before the end."""

import socket
import subprocess

from wire import Daemon, equal, need, run

REQUESTS = '{"execute": "qmp_capabilities"}' + ''.join(
    f'{{"execute": "query-name", "id": {i}}}\n' for i in range(100))


def test():
    with Daemon() as daemon:
        with daemon.client() as client:
            client.send(REQUESTS)
            client.sock.shutdown(socket.SHUT_WR)
            lines = client.rest().split(b'\r\n')
            equal(len(lines), 103)
            equal(lines[101:], [b'{"return": {}, "id": 99}', b''])
        need('socat')
        through = subprocess.run(
            ['socat', '-t10', '-', f'UNIX-CONNECT:{daemon.path}'],
            input=REQUESTS.encode(), stdout=subprocess.PIPE, timeout=20, check=True)
        equal(through.stdout.split(b'\r\n')[1:], lines[1:])


run(test)
