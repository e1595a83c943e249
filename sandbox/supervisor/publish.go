package supervisor

import (
	"fmt"
	"log"
	"time"

	"nodepool/sandbox/component"
	"nodepool/sandbox/state"
)

// progress adds a line to what `sandbox up` shows.
func (s *Supervisor) progress(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%5.1fs  %s", time.Since(s.run.StartedAt).Seconds(), fmt.Sprintf(format, args...))
	log.Print(line)
	s.run.Progress = append(s.run.Progress, line)
	s.publish()
}

func (s *Supervisor) setPhase(phase state.Phase, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A failure stays visible while the rest is being stopped.
	if s.run.Phase == state.Failed {
		return
	}
	s.run.Phase, s.run.Message = phase, message
	s.publish()
}

func (s *Supervisor) setComponent(name string, change func(*state.Component)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setComponentLocked(name, change)
}

func (s *Supervisor) setComponentLocked(name string, change func(*state.Component)) {
	for i := range s.run.Components {
		if s.run.Components[i].Name == name {
			change(&s.run.Components[i])
			s.publish()
			return
		}
	}
	c := state.Component{Name: name, Port: portOf(s.ports, name)}
	change(&c)
	s.run.Components = append(s.run.Components, c)
	s.publish()
}

// publish writes the run file. The file informs; a failure to write it must not
// end the sandbox.
func (s *Supervisor) publish() {
	if err := state.SaveRun(s.dir, &s.run); err != nil {
		log.Printf("write %s: %v", s.dir.RunFile(), err)
	}
}

func portOf(p state.Ports, name string) int {
	switch name {
	case component.Etcd:
		return p.EtcdClient()
	case component.APIServer:
		return p.APIServer()
	case component.GC:
		return p.GC()
	case component.Controllers:
		return p.Webhooks()
	default:
		return p.ProviderWebhooks()
	}
}
