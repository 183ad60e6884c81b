// go-qemu's client: one reply a command and in order, no ids, events beside them.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

const path = "/machine/peripheral/r0/virtio-backend"

func fail(format string, args ...interface{}) {
	fmt.Printf(format+"\n", args...)
	os.Exit(1)
}

func run(mon *qmp.SocketMonitor, command string) []byte {
	raw, err := mon.Run([]byte(command))
	if err != nil {
		fail("%s: %v", command, err)
	}
	return raw
}

func checkVersion(mon *qmp.SocketMonitor) {
	version := mon.Version.String()
	if version != "8.2.0" {
		fail("expected version 8.2.0, found %s", version)
	}
	if mon.Version.Package == "" {
		fail("no package in the greeting")
	}
}

func checkDevices(mon *qmp.SocketMonitor) {
	var reply struct {
		Return []struct{ Name, Path string }
	}
	raw := run(mon, `{"execute":"x-query-virtio"}`)
	if err := json.Unmarshal(raw, &reply); err != nil {
		fail("%s: %v", raw, err)
	}
	if len(reply.Return) != 1 || reply.Return[0].Name != "virtio-rng" || reply.Return[0].Path != path {
		fail("expected %s, found %s", path, raw)
	}
}

func checkOrder(mon *qmp.SocketMonitor) {
	for i := 0; i < 100; i++ {
		command, part := `{"execute":"query-name"}`, `"gopher"`
		if i%2 == 1 {
			command = `{"execute":"x-query-virtio-queue-status","arguments":{"path":"` + path + `","queue":0}}`
			part = `"vring-num": 8`
		}
		if raw := run(mon, command); !strings.Contains(string(raw), part) {
			fail("expected %s, found %s", part, raw)
		}
	}
}

func checkError(mon *qmp.SocketMonitor) {
	_, err := mon.Run([]byte(`{"execute":"x-query-virtio-queue-status","arguments":{"path":"/nope","queue":0}}`))
	if err == nil || err.Error() != "Path /nope is not a VirtIODevice" {
		fail("expected an error about /nope, found %v", err)
	}
}

func checkEvents(mon *qmp.SocketMonitor) {
	events, err := mon.Events(context.Background())
	if err != nil {
		fail("events: %v", err)
	}
	go run(mon, `{"execute":"cont"}`)
	select {
	case event := <-events:
		if event.Event != "RESUME" || event.Timestamp.Seconds == 0 {
			fail("expected RESUME with a time, found %v", event)
		}
	case <-time.After(10 * time.Second):
		fail("no event came")
	}
}

func main() {
	mon, err := qmp.NewSocketMonitor("unix", os.Args[1], 2*time.Second)
	if err != nil {
		fail("dial: %v", err)
	}
	if err := mon.Connect(); err != nil {
		fail("connect: %v", err)
	}
	checkVersion(mon)
	checkDevices(mon)
	checkOrder(mon)
	checkError(mon)
	checkEvents(mon)
	if err := mon.Disconnect(); err != nil {
		fail("disconnect: %v", err)
	}
	fmt.Println("go-qemu: version, devices, order, error, events")
}
