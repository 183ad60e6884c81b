"""-qmp-pretty indents by four and keeps CR LF; an empty object has two lines."""

from wire import Client, Daemon, equal, run


def test():
    with Daemon('-qmp-pretty', 'unix:{dir}/pretty,server=on,wait=off') as daemon:
        with Client.connect(daemon.file('pretty')) as client:
            greeting = client.bytes_until(b'\r\n}\r\n')
            assert greeting.startswith(b'{\r\n    "QMP": {\r\n        "version": {\r\n')
            client.send('{"execute": "qmp_capabilities", "id": []}')
            equal(client.bytes_until(b'\r\n}\r\n'),
                  b'{\r\n    "return": {\r\n    },\r\n    "id": [\r\n    ]\r\n}\r\n')


run(test)
