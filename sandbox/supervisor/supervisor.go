// Package supervisor starts the processes of one sandbox, starts them again
// when they crash, and stops them.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"nodepool/sandbox/component"
	"nodepool/sandbox/install"
	"nodepool/sandbox/manifests"
	"nodepool/sandbox/pki"
	"nodepool/sandbox/state"
)

const (
	// The controllers have nothing to put away; kube-apiserver answers the
	// requests it has; etcd closes its database.
	controllerGrace = time.Second
	apiServerGrace  = 3 * time.Second
	etcdGrace       = 5 * time.Second
	// portWait is how long the ports of a killed supervisor's processes may
	// take to become free.
	portWait = 3 * time.Second
	// restoreWait is how long the controllers wait for the nodes of a resumed
	// sandbox. A machine that cannot come back must not hold up the rest.
	restoreWait = 20 * time.Second
	// A process that ran this long had started well; its next crash is the
	// first one again.
	steady     = 10 * time.Second
	maxBackoff = 5 * time.Second
)

// Supervisor runs one sandbox.
type Supervisor struct {
	dir    state.Dir
	state  *state.State
	ports  state.Ports
	bundle *manifests.Bundle
	admin  *rest.Config
	spawn  *spawner

	mu       sync.Mutex
	run      state.Run
	children map[string]*child
	closing  bool
	watchers sync.WaitGroup
}

// Run starts the sandbox in dir and runs it until ctx ends. It holds the run
// lock for as long.
func Run(ctx context.Context, dir state.Dir, clusterAPI string, bundle *manifests.Bundle) error {
	if err := dir.Create(); err != nil {
		return err
	}
	lock, err := state.TryLock(dir.RunLock())
	if err != nil {
		return fmt.Errorf("%s: %w: another supervisor runs this sandbox", dir.RunLock(), err)
	}
	defer lock.Unlock()

	s := &Supervisor{dir: dir, bundle: bundle, spawn: newSpawner(), children: map[string]*child{}}
	s.run = state.Run{Phase: state.Starting, StartedAt: time.Now()}
	if s.run.Supervisor, err = state.Identify(os.Getpid()); err != nil {
		return err
	}
	s.publish()
	err = s.start(ctx, clusterAPI)
	if err == nil {
		s.setPhase(state.Ready, "")
		<-ctx.Done()
	} else if ctx.Err() == nil {
		s.setPhase(state.Failed, err.Error())
	}
	s.stopAll()
	if err != nil && ctx.Err() == nil {
		return err
	}
	// A missing run file is how a clean stop looks.
	return os.Remove(dir.RunFile())
}

func (s *Supervisor) start(ctx context.Context, clusterAPI string) error {
	resumed, anchor, err := s.takePorts(clusterAPI)
	if err != nil {
		return err
	}
	// Held until the process ends: it marks the block as taken.
	_ = anchor
	if err := pki.Ensure(s.dir.PKI(), s.dir.Kubeconfig(), s.ports.APIServer()); err != nil {
		return err
	}
	s.admin, err = clientcmd.BuildConfigFromFlags("", pki.Kubeconfig(s.dir.PKI(), pki.Supervisor))
	if err != nil {
		return err
	}
	if err := s.startAndWait(ctx, component.Etcd, time.Minute); err != nil {
		return err
	}
	if err := s.startAndWait(ctx, component.APIServer, time.Minute); err != nil {
		return err
	}
	if err := s.install(ctx); err != nil {
		return err
	}
	if err := s.launch(component.GC); err != nil {
		return err
	}
	if err := s.launch(component.Provider); err != nil {
		return err
	}
	if resumed {
		if err := s.waitFor(ctx, component.Provider, restoreWait); err != nil && ctx.Err() == nil {
			s.progress("not all nodes came back within %s, going on: see `kubectl get machines -A` and %s", restoreWait, s.dir.Log(component.Provider))
		}
	}
	if err := s.launch(component.Controllers); err != nil {
		return err
	}
	if !resumed {
		if err := s.waitFor(ctx, component.Provider, time.Minute); err != nil {
			return err
		}
	}
	return s.waitFor(ctx, component.Controllers, time.Minute)
}

// takePorts loads the state, or makes it on free ports.
func (s *Supervisor) takePorts(clusterAPI string) (resumed bool, anchor any, err error) {
	s.state, err = state.Load(s.dir)
	switch {
	case errors.Is(err, state.ErrNoState):
		ports, l, err := state.ChooseBlock(s.dir)
		if err != nil {
			return false, nil, err
		}
		s.ports = ports
		s.state = &state.State{ClusterAPI: clusterAPI, CreatedAt: time.Now().UTC(), PortBase: ports.Base}
		s.progress("new sandbox on ports %d-%d", ports.Base, ports.Last())
		return false, l, state.Save(s.dir, s.state)
	case err != nil:
		return false, nil, err
	}
	if s.state.ClusterAPI != clusterAPI {
		return false, nil, fmt.Errorf("the sandbox in %s was made with Cluster API %s, this binary has %s: use the binary it was made with, or `sandbox reset`",
			s.dir, s.state.ClusterAPI, clusterAPI)
	}
	s.ports = state.Ports{Base: s.state.PortBase}
	l, err := state.TakeBlock(s.ports)
	for deadline := time.Now().Add(portWait); err != nil && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
		l, err = state.TakeBlock(s.ports)
	}
	if err != nil {
		return false, nil, err
	}
	s.progress("resuming on ports %d-%d", s.ports.Base, s.ports.Last())
	return s.state.Installed != "", l, nil
}

func (s *Supervisor) install(ctx context.Context) error {
	if s.state.Installed == s.bundle.Digest {
		return nil
	}
	ca, err := os.ReadFile(pki.CA(s.dir.PKI()))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := install.Apply(ctx, s.admin, s.bundle, ca, s.ports); err != nil {
		return err
	}
	s.progress("definitions and webhooks installed")
	// The state file is also written by the command that seeds; read again so
	// that neither loses the other's field.
	if fresh, err := state.Load(s.dir); err == nil {
		s.state = fresh
	}
	s.state.Installed = s.bundle.Digest
	return state.Save(s.dir, s.state)
}

func (s *Supervisor) startAndWait(ctx context.Context, name string, timeout time.Duration) error {
	if err := s.launch(name); err != nil {
		return err
	}
	return s.waitFor(ctx, name, timeout)
}

// launch starts a component and keeps it running from now on.
func (s *Supervisor) launch(name string) error {
	if s.heldBack(name) {
		s.setComponent(name, func(c *state.Component) { c.State = "stopped" })
		s.progress("%s stays stopped (`sandbox start %s` starts it)", name, name)
	} else if err := s.spawnChild(name); err != nil {
		return err
	}
	s.watchers.Add(1)
	go s.keep(name)
	return nil
}

func (s *Supervisor) spawnChild(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return context.Canceled
	}
	c, err := s.spawn.spawn(s.dir, s.ports.Base, name)
	if err != nil {
		return err
	}
	s.children[name] = c
	s.setComponentLocked(name, func(sc *state.Component) { sc.State, sc.Process = "running", c.process })
	return nil
}

// keep starts a component again after a crash: at once the first time, then
// after a growing pause, and not while its marker says stopped.
func (s *Supervisor) keep(name string) {
	defer s.watchers.Done()
	pause := time.Duration(0)
	for {
		s.mu.Lock()
		c, closing := s.children[name], s.closing
		s.mu.Unlock()
		if closing {
			return
		}
		if c != nil {
			<-c.exited
			if time.Since(c.started) > steady {
				pause = 0
			}
		}
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if s.heldBack(name) {
			s.setComponent(name, func(sc *state.Component) { sc.State, sc.Process = "stopped", state.Process{} })
			for s.heldBack(name) && !s.isClosing() {
				time.Sleep(50 * time.Millisecond)
			}
			pause = 0
		} else if c != nil {
			s.setComponent(name, func(sc *state.Component) {
				sc.State, sc.LastExit = "restarting", c.howItEnded()
				sc.Restarts++
			})
			time.Sleep(pause)
			pause = min(max(2*pause, 100*time.Millisecond), maxBackoff)
		}
		if err := s.spawnChild(name); err != nil {
			if s.isClosing() {
				return
			}
			s.progress("%v", err)
			time.Sleep(maxBackoff)
		}
	}
}

func (s *Supervisor) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Supervisor) heldBack(name string) bool {
	_, err := os.Stat(s.dir.Stopped(name))
	return !errors.Is(err, fs.ErrNotExist)
}

// stopAll ends the processes in the order in which they depend on each other.
func (s *Supervisor) stopAll() {
	s.setPhase(state.Stopping, s.run.Message)
	s.mu.Lock()
	s.closing = true
	children := s.children
	s.mu.Unlock()
	for _, wave := range []struct {
		grace time.Duration
		names []string
	}{
		{controllerGrace, []string{component.Controllers, component.GC, component.Provider}},
		{apiServerGrace, []string{component.APIServer}},
		{etcdGrace, []string{component.Etcd}},
	} {
		var wg sync.WaitGroup
		for _, name := range wave.names {
			if c := children[name]; c != nil {
				wg.Add(1)
				go func() {
					defer wg.Done()
					c.stop(wave.grace)
				}()
			}
		}
		wg.Wait()
	}
	s.watchers.Wait()
}
