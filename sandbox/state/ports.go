package state

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"strconv"
	"syscall"
)

// Sandboxes take whole blocks of ports below the kernel's ephemeral range, so
// that an outgoing connection of another program cannot take one while the
// sandbox is down.
const (
	firstPort = 20000
	blockSize = 200
	blocks    = 60 // 20000-31999
)

// Ports is the block of one sandbox.
type Ports struct{ Base int }

// Anchor is held by the supervisor itself and so marks the block as taken.
func (p Ports) Anchor() int { return p.Base }

// EtcdClient is etcd's client port.
func (p Ports) EtcdClient() int { return p.Base + 1 }

// EtcdPeer is etcd's peer port.
func (p Ports) EtcdPeer() int { return p.Base + 2 }

// APIServer is kube-apiserver's port.
func (p Ports) APIServer() int { return p.Base + 3 }

// GC is kube-controller-manager's port.
func (p Ports) GC() int { return p.Base + 4 }

// Webhooks is the webhook port of the Cluster API controllers.
func (p Ports) Webhooks() int { return p.Base + 5 }

// Health is the health port of the Cluster API controllers.
func (p Ports) Health() int { return p.Base + 6 }

// ProviderWebhooks is the webhook port of the infrastructure provider.
func (p Ports) ProviderWebhooks() int { return p.Base + 7 }

// ProviderHealth is the health port of the infrastructure provider.
func (p Ports) ProviderHealth() int { return p.Base + 8 }

// Debug is the debug port of the in-memory workload clusters.
func (p Ports) Debug() int { return p.Base + 9 }

// Workload is the first port of the workload clusters' API servers.
func (p Ports) Workload() int { return p.Base + 10 }

// Last is the last port of the block.
func (p Ports) Last() int { return p.Base + blockSize - 1 }

// PortTakenError says that somebody else listens where this sandbox must.
type PortTakenError struct {
	Port int
	Err  error
}

func (e *PortTakenError) Error() string {
	return fmt.Sprintf("port 127.0.0.1:%d is taken (%v); this sandbox keeps its ports because its workload clusters' endpoints are stored in etcd: "+
		"stop what listens there (`ss -ltnp sport = :%d` names it), or `sandbox reset` to start over on other ports", e.Port, e.Err, e.Port)
}

func (e *PortTakenError) Unwrap() error { return e.Err }

func validBase(base int) bool {
	return base >= firstPort && base < firstPort+blocks*blockSize && (base-firstPort)%blockSize == 0
}

// listenFunc stands for net.Listen in tests.
type listenFunc func(port int) (net.Listener, error)

func listenLoopback(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// ChooseBlock finds a free block for a new sandbox and takes its anchor. The
// search starts at a place that depends on the directory, so that two sandboxes
// of which one is stopped rarely meet.
func ChooseBlock(dir Dir) (Ports, net.Listener, error) { return chooseBlock(dir, listenLoopback) }

func chooseBlock(dir Dir, listen listenFunc) (Ports, net.Listener, error) {
	h := fnv.New32a()
	h.Write([]byte(dir))
	start := int(h.Sum32() % blocks)
	for i := range blocks {
		p := Ports{Base: firstPort + (start+i)%blocks*blockSize}
		anchor, err := take(p, p.Last(), listen)
		if err == nil {
			return p, anchor, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return Ports{}, nil, err
		}
	}
	return Ports{}, nil, fmt.Errorf("no free block of %d ports between %d and %d on 127.0.0.1: stop other sandboxes (`sandbox down --dir DIR`)",
		blockSize, firstPort, firstPort+blocks*blockSize-1)
}

// TakeBlock takes the block of a sandbox that exists already.
func TakeBlock(p Ports) (net.Listener, error) { return take(p, p.Last(), listenLoopback) }

func take(p Ports, last int, listen listenFunc) (net.Listener, error) {
	anchor, err := listen(p.Anchor())
	if err != nil {
		return nil, &PortTakenError{Port: p.Anchor(), Err: err}
	}
	for port := p.Anchor() + 1; port <= last; port++ {
		l, err := listen(port)
		if err != nil {
			anchor.Close()
			return nil, &PortTakenError{Port: port, Err: err}
		}
		l.Close()
	}
	return anchor, nil
}
