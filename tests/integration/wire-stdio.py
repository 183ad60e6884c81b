"""QMP on standard input and output; the process outlives the end of its input and its
replies precede the end of its output."""

import subprocess

from wire import Daemon, equal, run


def test():
    with Daemon('-qmp', 'stdio', stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        out = daemon.proc.stdout
        assert out.readline().startswith(b'{"QMP": ')
        daemon.proc.stdin.write(b'{"execute": "qmp_capabilities"}'
                                   b'{"execute": "query-name", "id": 1}')
        daemon.proc.stdin.close()
        equal(out.readline(), b'{"return": {}}\r\n')
        equal(out.readline(), b'{"return": {}, "id": 1}\r\n')
        with daemon.negotiated() as client:
            equal(client.execute('query-name'), {'return': {}})


run(test)
