"""No byte sequence ends the process, draws unbounded output or harms another session."""

import random

from wire import Daemon, equal, run

CASES = (
    b']' * 100000,
    b'[' * 100000,
    b'{"a":' * 50000,
    b'\xff' * 5000,
    b'\x00' * 5000,
    b'"' + b'x' * (3 << 20),
    b'{"execute": "' + b'n' * 500000 + b'"}',
    b'[' + b'1,' * 100000,
    b'9' * 100000 + b' ',
    b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
)


def noise(seed):
    rng = random.Random(seed)
    words = [b'{', b'}', b'[', b']', b':', b',', b'"', b"'", b'\\', b'\\u', b'd800', b'null',
             b'"execute"', b'"query-name"', b'"id"', b'"arguments"', b'1e9', b'-', b'\n',
             b'\x80', b'\xff', b'\x00', b' ']
    return b''.join(rng.choice(words) for _ in range(2000))


def test():
    with Daemon() as daemon, daemon.negotiated() as other:
        before = daemon.resident_kib()
        for data in CASES + tuple(noise(seed) for seed in range(20)):
            with daemon.negotiated() as client:
                try:
                    client.send(data)
                    client.sock.shutdown(1)
                    answer = client.rest()
                except (BrokenPipeError, ConnectionResetError):
                    raise AssertionError(f'cut off after {data[:40]!r}') from None
                assert len(answer) < 1000 + 100 * len(data), data[:40]
            equal(other.execute('query-name'), {'return': {}})
        assert not daemon.has_grown(before, 16 << 10)


run(test)
