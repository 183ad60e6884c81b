"""An idle daemon with idle clients does not wake up."""

import time

from wire import Daemon, equal, run


def switches(daemon):
    return daemon.number('voluntary_ctxt_switches')


def test():
    with Daemon('-device', 'virtio-net-pci,id=net0') as daemon, \
            daemon.negotiated() as client, \
            daemon.client() as stranger:
        stranger.message()
        equal(client.execute('query-name'), {'return': {}})
        time.sleep(0.3)
        before = switches(daemon)
        time.sleep(2)
        equal(switches(daemon) - before, 0)


run(test)
