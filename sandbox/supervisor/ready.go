package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"nodepool/sandbox/component"
)

// waitFor waits until a component answers that it is ready. A component that is
// held back on purpose is not waited for.
func (s *Supervisor) waitFor(ctx context.Context, name string, timeout time.Duration) error {
	if s.heldBack(name) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	probe, err := s.probe(name)
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			s.progress("%s ready", name)
			return nil
		}
		if restarts := s.restarts(name); restarts >= 5 {
			return fmt.Errorf("%s ended %d times while starting: see %s", name, restarts, s.dir.Log(name))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s (%w): see %s", name, timeout, err, s.dir.Log(name))
		case <-tick.C:
		}
	}
}

func (s *Supervisor) restarts(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.run.Components {
		if c.Name == name {
			return c.Restarts
		}
	}
	return 0
}

func (s *Supervisor) probe(name string) (func(context.Context) error, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	var url string
	switch name {
	case component.Etcd:
		url = fmt.Sprintf("http://127.0.0.1:%d/health", s.ports.EtcdClient())
	case component.APIServer:
		var err error
		if client, err = rest.HTTPClientFor(s.admin); err != nil {
			return nil, err
		}
		url = fmt.Sprintf("https://127.0.0.1:%d/readyz", s.ports.APIServer())
	case component.Controllers:
		url = fmt.Sprintf("http://127.0.0.1:%d/readyz", s.ports.Health())
	case component.Provider:
		url = fmt.Sprintf("http://127.0.0.1:%d/readyz", s.ports.ProviderHealth())
	default:
		return nil, fmt.Errorf("%s has no readiness", name)
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status + " " + strings.TrimSpace(string(body)))
		}
		return nil
	}, nil
}
