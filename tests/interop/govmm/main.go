// govmm's client: refuses a version below 5, wants numbers in the greeting, reads events.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/kata-containers/govmm/qemu"
)

func fail(format string, args ...interface{}) {
	fmt.Printf(format+"\n", args...)
	os.Exit(1)
}

func expectEvent(events <-chan qemu.QMPEvent, name string) {
	select {
	case event := <-events:
		if event.Name != name || event.Timestamp.IsZero() {
			fail("expected %s with a time, found %v", name, event)
		}
	case <-time.After(10 * time.Second):
		fail("no %s event came", name)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	events := make(chan qemu.QMPEvent, 16)
	gone := make(chan struct{})
	q, version, err := qemu.QMPStart(ctx, os.Args[1], qemu.QMPConfig{EventCh: events}, gone)
	if err != nil {
		fail("start: %v", err)
	}
	if version.Major != 8 || version.Minor != 2 || version.Micro != 0 {
		fail("expected version 8.2.0, found %v", version)
	}
	if len(version.Capabilities) != 1 || version.Capabilities[0] != "oob" {
		fail("expected the capability oob, found %v", version.Capabilities)
	}
	if err := q.ExecuteQMPCapabilities(ctx); err != nil {
		fail("qmp_capabilities: %v", err)
	}
	if err := q.ExecuteCont(ctx); err != nil {
		fail("cont: %v", err)
	}
	expectEvent(events, "RESUME")
	if err := q.ExecuteStop(ctx); err != nil {
		fail("stop: %v", err)
	}
	expectEvent(events, "STOP")
	if err := q.ExecuteDeviceDel(ctx, "r0"); err != nil {
		fail("device_del: %v", err)
	}
	expectEvent(events, "DEVICE_DELETED")
	if err := q.ExecuteDeviceDel(ctx, "nobody"); err == nil {
		fail("device_del of nothing was answered with success")
	}
	if err := q.ExecuteQuit(ctx); err != nil {
		fail("quit: %v", err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		fail("the connection outlived quit")
	}
	fmt.Println("govmm: version, cont, stop, device_del, quit")
}
