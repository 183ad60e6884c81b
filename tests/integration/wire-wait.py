"""wait=on: who starts the daemon is told that it waits; the first client ends that, and a
signal ends the daemon."""

import os

from wire import Client, Daemon, equal, run, until


def test():
    options = ('-qmp', 'unix:{dir}/first,server=on,wait=on')
    with Daemon(*options, qmp=False) as daemon:
        path = daemon.file('first')
        daemon.told(path)
        with Client.connect(path) as client:
            client.negotiate()
            equal(client.execute('query-name'), {'return': {}})
    with Daemon(*options, qmp=False) as daemon:
        path = daemon.file('first')
        daemon.told(path)
        daemon.proc.terminate()
        equal(daemon.status(), 0)
        assert until(lambda: not os.path.exists(path))


run(test)
