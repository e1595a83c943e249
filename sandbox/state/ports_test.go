package state

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
)

type fakeListener struct {
	net.Listener
	closed bool
}

func (l *fakeListener) Close() error { l.closed = true; return nil }

// fakePorts listens on everything but the ports taken.
func fakePorts(taken func(port int) bool) (listenFunc, map[int]*fakeListener) {
	open := map[int]*fakeListener{}
	return func(port int) (net.Listener, error) {
		if taken(port) {
			return nil, &net.OpError{Op: "listen", Err: syscall.EADDRINUSE}
		}
		open[port] = &fakeListener{}
		return open[port], nil
	}, open
}

func TestChooseBlockTakesAFreeOne(t *testing.T) {
	listen, open := fakePorts(func(int) bool { return false })
	p, anchor, err := chooseBlock("/a", listen)
	if err != nil {
		t.Fatal(err)
	}
	if !validBase(p.Base) || p.Last() >= 32768 {
		t.Errorf("block %d-%d is not below the ephemeral ports", p.Base, p.Last())
	}
	for port, l := range open {
		if port != p.Anchor() && !l.closed {
			t.Errorf("port %d is still held", port)
		}
	}
	if anchor.(*fakeListener).closed {
		t.Error("the anchor was given back")
	}
	again, _, _ := chooseBlock("/a", listen)
	if again != p {
		t.Errorf("the same directory starts at %d, then at %d", p.Base, again.Base)
	}
}

func TestChooseBlockSkipsABlockWithOneTakenPort(t *testing.T) {
	free, _ := fakePorts(func(int) bool { return false })
	first, _, err := chooseBlock("/a", free)
	if err != nil {
		t.Fatal(err)
	}
	listen, open := fakePorts(func(port int) bool { return port == first.Base+17 })
	p, _, err := chooseBlock("/a", listen)
	if err != nil {
		t.Fatal(err)
	}
	if p == first {
		t.Errorf("chose block %d although port %d is taken", p.Base, first.Base+17)
	}
	if !open[first.Anchor()].closed {
		t.Error("the anchor of the refused block is still held")
	}
}

func TestChooseBlockReportsThatAllAreTaken(t *testing.T) {
	listen, _ := fakePorts(func(int) bool { return true })
	_, _, err := chooseBlock("/a", listen)
	if err == nil || !strings.Contains(err.Error(), "sandbox down") {
		t.Errorf("chooseBlock = %v, want an error that says what to do", err)
	}
}

func TestTakeNamesTheTakenPort(t *testing.T) {
	p := Ports{Base: firstPort}
	listen, _ := fakePorts(func(port int) bool { return port == p.APIServer() })
	_, err := take(p, p.Last(), listen)
	var taken *PortTakenError
	if !errors.As(err, &taken) || taken.Port != p.APIServer() {
		t.Fatalf("take = %v, want port %d taken", err, p.APIServer())
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Error("the cause is lost")
	}
}

func TestPortsOfABlockDiffer(t *testing.T) {
	p := Ports{Base: firstPort}
	seen := map[int]bool{}
	for _, port := range []int{p.Anchor(), p.EtcdClient(), p.EtcdPeer(), p.APIServer(), p.GC(), p.Webhooks(), p.Health(),
		p.ProviderWebhooks(), p.ProviderHealth(), p.Debug(), p.Workload()} {
		if seen[port] {
			t.Errorf("port %d has two uses", port)
		}
		seen[port] = true
	}
}
