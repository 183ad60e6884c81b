"""DPDK's virtio-user drives a network device of ours without any guest: split and packed,
as client and as server, one pair of queues and two, and on its path for rings in order;
what both ends counted is the same.

The device is wired to itself (-netdev loop), and testpmd sends on what it receives: 128
packets go round until it is told to stop.
"""

import pathlib
import sys
import time

import testpmd

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import vds  # noqa: E402  pylint: disable=wrong-import-position

PATH = "/machine/peripheral/net0/virtio-backend"
SECONDS = 1.0


def daemon(pairs, listens, ordered):
    mode = "" if listens else ",server=off,reconnect=1"
    mode += ",in_order=on" if ordered else ""
    mq = ",mq=on" if pairs > 1 else ""
    return vds.Daemon("-netdev", f"loop,id=l0,queues={pairs}", "-device",
                      f"virtio-net-pci,id=net0,netdev=l0{mq},vhost-user={{dir}}/net0{mode}")


def driver(where, pairs, packed, connects, mergeable):
    words = f"net_virtio_user0,path={where},queues={pairs},queue_size=256"
    words += ",packed_vq=1" if packed else ""
    words += "" if connects else ",server=1"
    words += "" if mergeable else ",mrg_rxbuf=0"
    return testpmd.Testpmd("--vdev", words, app=[f"--rxq={pairs}", f"--txq={pairs}"])


def get(client, name):
    return client.command("qom-get", path=PATH, property=name)


def settled(client):
    """Packets received and sent, once they move no more."""
    before = None
    while before != (now := (get(client, "rx-packets"), get(client, "tx-packets"))):
        before = now
        time.sleep(0.05)
    return now


def rings_are_sound(client, pairs, packed):
    for queue in range(2 * pairs):
        status = client.command("x-query-virtio-queue-status", path=PATH, queue=queue)
        vds.equal(status["vring-num"], 256)
        if not packed:
            behind = (status["used-idx"] + status["inuse"] - status["last-avail-idx"]) % 65536
            vds.equal(behind, 0, f"queue {queue}: {status}")
        vhost = client.command("x-query-virtio-vhost-queue-status", path=PATH, queue=queue)
        vds.equal(vhost["num"], 256)
        # virtio-user's guest-physical addresses are its virtual ones
        vds.equal(vhost["desc"], vhost["desc-phys"])
        client.command("x-query-virtio-queue-element", path=PATH, queue=queue)


def has(features, name):
    return any(text.startswith(name + ":") for text in features)


def exchange(pairs, packed, connects, ordered=False, mergeable=True):
    with daemon(pairs, connects, ordered) as ours:
        client = ours.client()
        with driver(ours.dir / "net0", pairs, packed, connects, mergeable) as pmd:
            pmd.command("start tx_first 4")
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                rings_are_sound(client, pairs, packed)
            features = client.command("x-query-virtio-status", path=PATH)["guest-features"]
            vds.equal(has(features["transports"], "VIRTIO_F_RING_PACKED"), packed)
            vds.equal(has(features["transports"], "VIRTIO_F_IN_ORDER"), ordered)
            vds.equal(has(features["dev-features"], "VIRTIO_NET_F_MRG_RXBUF"), mergeable)
            vds.equal(get(client, "connected"), True)
            pmd.command("stop")
            theirs = pmd.stats(0)
            received, sent = settled(client)
            vds.equal(sent, theirs["TX-packets"], "packets that testpmd sent")
            # what is received and not fetched lies in the rings
            in_rings = received - theirs["RX-packets"]
            assert 0 <= in_rings <= 256 * pairs, (received, theirs)
            assert sent > 1000, sent
            vds.equal(theirs["TX-errors"] + theirs["RX-errors"], 0)
            print(f"# {sent / SECONDS / 1e6:.2f} million packets a second")


def cases():
    for packed in (False, True):
        for connects in (True, False):
            for pairs in (1, 2):
                name = f"{'packed' if packed else 'split'}_{'client' if connects else 'server'}_{pairs}"
                yield name, lambda a=(pairs, packed, connects): exchange(*a)
        for mergeable in (False, True):
            name = f"{'packed' if packed else 'split'}_in_order{'_mergeable' if mergeable else ''}"
            yield name, lambda a=(2, packed, True, True, mergeable): exchange(*a)


def main():
    vds.need(testpmd.PROGRAM)
    names, tests = zip(*cases())
    sys.exit(0 if vds.report(*tests, names=names) else 1)


if __name__ == "__main__":
    main()
