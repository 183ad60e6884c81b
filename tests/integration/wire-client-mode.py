"""Without server=on the daemon connects and greets whom it has connected to; with nobody
there it does not start."""

import os
import socket
import subprocess
import tempfile

from wire import PATIENCE, Client, Daemon, equal, run


def test():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'server')
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(path)
            server.listen(1)
            server.settimeout(PATIENCE)
            with Daemon('-qmp', f'unix:{path}') as daemon:
                sock = server.accept()[0]
                sock.settimeout(PATIENCE)
                with Client(sock) as client:
                    client.negotiate()
                    equal(client.execute('query-name'), {'return': {}})
                program = daemon.argv[0]
        refused = subprocess.run([program, '-qmp', f'unix:{path}'], timeout=PATIENCE,
                                 stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                 check=False)
        equal(refused.returncode, 1)
        assert path.encode() in refused.stderr, refused.stderr


run(test)
