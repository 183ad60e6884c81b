"""Out of descriptors the daemon neither ends nor spins; who waits is served when others
leave."""

import resource
import time

from wire import Daemon, equal, run


def starve():
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))


def seconds(daemon):
    with open(f'/proc/{daemon.pid}/stat') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test():
    with Daemon(preexec_fn=starve) as daemon:
        clients = [daemon.client() for _ in range(60)]
        greeted = []
        for client in clients:
            if client.silent(0.1):
                break
            client.negotiate()
            greeted.append(client)
        assert 20 < len(greeted) < 40, len(greeted)
        before = seconds(daemon)
        time.sleep(1)
        assert seconds(daemon) - before < 0.2
        equal(greeted[0].execute('query-name'), {'return': {}})
        waiting = clients[len(greeted):]
        for client in greeted:
            client.close()
        for client in waiting:
            client.negotiate()
            client.close()


run(test)
