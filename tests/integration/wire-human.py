"""-monitor: a banner, a prompt, lines, no echo; and the same through -mon."""

from wire import Client, Daemon, equal, run

PROMPT = b'(qemu) '


def test():
    with Daemon('-monitor', 'unix:{dir}/first,server=on,wait=off',
                '-chardev', 'socket,id=c0,path={dir}/second,server=on,wait=off',
                '-mon', 'chardev=c0,mode=readline') as daemon:
        for name in ('first', 'second'):
            with Client.connect(daemon.file(name)) as client:
                banner = client.bytes_until(PROMPT)
                equal(banner.count(b'\r\n'), 1)
                client.send('info status\n')
                equal(client.bytes_until(PROMPT), b'VM status: running\r\n' + PROMPT)
                client.send('info name\r\n\r\n')
                client.bytes_until(PROMPT)
                equal(client.bytes_until(PROMPT), PROMPT)
                client.send('x' * 5000 + '\n')
                assert client.bytes_until(PROMPT).startswith(b'Error: ')
                client.send('info nosuch\n')
                equal(client.bytes_until(PROMPT),
                      b"unknown command: 'info nosuch'\r\n" + PROMPT)
        with Client.connect(daemon.file('first')) as client:
            client.bytes_until(PROMPT)
            client.send('quit\n')
            client.rest()
            equal(daemon.status(), 0)


run(test)
