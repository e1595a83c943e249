package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"nodepool/sandbox/state"
)

// status is what `sandbox status -o json` prints.
type status struct {
	Dir        string            `json:"dir"`
	Phase      string            `json:"phase"` // none, down, starting, ready, stopping or failed
	Message    string            `json:"message,omitempty"`
	BuiltIn    map[string]string `json:"builtIn"`
	Kubeconfig string            `json:"kubeconfig,omitempty"`
	AuditLog   string            `json:"auditLog,omitempty"`
	Logs       string            `json:"logs,omitempty"`
	Server     string            `json:"server,omitempty"`
	Ports      *portRange        `json:"ports,omitempty"`
	Seeded     bool              `json:"seeded"`
	Supervisor *processStatus    `json:"supervisor,omitempty"`
	Components []componentStatus `json:"components,omitempty"`
}

type portRange struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

type processStatus struct {
	PID   int   `json:"pid"`
	RSSMi int64 `json:"rssMiB"`
}

type componentStatus struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	PID      int    `json:"pid,omitempty"`
	RSSMi    int64  `json:"rssMiB,omitempty"`
	Port     int    `json:"port,omitempty"`
	Restarts int    `json:"restarts"`
	LastExit string `json:"lastExit,omitempty"`
}

func showStatus(out io.Writer, dir state.Dir, format string) error {
	if format != "text" && format != "json" {
		return fmt.Errorf("-o %s: text or json", format)
	}
	s, err := lookUp(dir)
	if err != nil {
		return err
	}
	if format == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	return s.print(out)
}

func lookUp(dir state.Dir) (*status, error) {
	s := &status{Dir: string(dir), Phase: "none", BuiltIn: builtIn()}
	st, err := state.Load(dir)
	if errors.Is(err, state.ErrNoState) {
		if !state.Locked(dir.RunLock()) {
			return s, nil
		}
	} else if err != nil {
		return nil, err
	}
	s.Phase = "down"
	s.Kubeconfig, s.AuditLog, s.Logs = dir.Kubeconfig(), dir.AuditLog(), dir.Logs()
	if st != nil {
		ports := state.Ports{Base: st.PortBase}
		s.Seeded = st.Seeded
		s.Ports = &portRange{First: ports.Base, Last: ports.Last()}
		s.Server = fmt.Sprintf("https://127.0.0.1:%d", ports.APIServer())
	}
	run, err := state.LoadRun(dir)
	if err != nil {
		return s, nil // no supervisor has run since the last clean stop
	}
	if !state.Locked(dir.RunLock()) || !run.Supervisor.Alive() {
		if run.Phase == state.Failed {
			s.Phase, s.Message = string(run.Phase), run.Message
		} else {
			s.Message = "the supervisor was killed; its processes ended with it"
		}
		return s, nil
	}
	s.Phase, s.Message = string(run.Phase), run.Message
	s.Supervisor = &processStatus{PID: run.Supervisor.PID, RSSMi: rss(run.Supervisor.PID)}
	for _, c := range run.Components {
		cs := componentStatus{Name: c.Name, State: c.State, Port: c.Port, Restarts: c.Restarts, LastExit: c.LastExit}
		if c.Process.Alive() {
			cs.PID, cs.RSSMi = c.Process.PID, rss(c.Process.PID)
		} else if c.State == "running" {
			cs.State = "restarting"
		}
		s.Components = append(s.Components, cs)
	}
	return s, nil
}

func (s *status) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: %s\n", s.Dir, s.Phase)
	if s.Message != "" {
		fmt.Fprintln(out, s.Message)
	}
	if s.Phase == "none" {
		fmt.Fprintln(out, "`sandbox up` makes one")
		return nil
	}
	fmt.Fprintf(out, "Cluster API %s, Kubernetes %s, etcd %s\n", s.BuiltIn["clusterAPI"], s.BuiltIn["kubernetes"], s.BuiltIn["etcd"])
	if s.Ports != nil {
		fmt.Fprintf(out, "server      %s (ports %d-%d)\n", s.Server, s.Ports.First, s.Ports.Last)
	}
	fmt.Fprintf(out, "kubeconfig  %s\naudit log   %s\n", s.Kubeconfig, s.AuditLog)
	if len(s.Components) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROCESS\tSTATE\tPID\tMIB\tPORT\tRESTARTS\tLAST EXIT")
	fmt.Fprintf(w, "supervisor\trunning\t%d\t%d\t\t\t\n", s.Supervisor.PID, s.Supervisor.RSSMi)
	for _, c := range s.Components {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", c.Name, c.State, c.PID, c.RSSMi, c.Port, c.Restarts, c.LastExit)
	}
	return w.Flush()
}

// rss is a process's resident memory in MiB, 0 if it is gone.
func rss(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize()) >> 20
}
