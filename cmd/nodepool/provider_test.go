package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/apply/journal"
	"nodepool/apply/journal/journaltest"
)

// withoutCloud empties the environment of what is set up of a cloud, so that no
// test asks one.
func withoutCloud() {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	_ = os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
}

// TestPlanAsksAWS: plan and apply tell what AWS says of image and instance type,
// where there are credentials, and unless they are told not to ask.
func TestPlanAsksAWS(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		// An account in which there is nothing.
		fmt.Fprintf(w, `<%[1]sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId></%[1]sResponse>`, r.Form.Get("Action"))
	}))
	defer server.Close()
	runIn(t, map[string]string{"u.yaml": badUpgrade}, "")
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	world := clustertest.AWSExample()
	call := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs,
			open: func(*cli.Context) (apply.Cluster, error) { return world.Open(nil), nil },
			connect: func(_ apply.Reader, of journal.Cluster) (*journal.InCluster, error) {
				objects := journaltest.NewClientset()
				return journal.New(objects.CoreV1(), objects.CoordinationV1(), of), nil
			}}
		if code := p.run(t.Context(), append([]string{"nodepool"}, args...)); code != want {
			t.Fatalf("nodepool %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, &out, &errs)
		}
		return out.String() + errs.String()
	}
	without := call(0, "plan", "-f", "u.yaml")
	if !strings.Contains(without, "nobody reports which version the image ami-bad carries (no AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)") || requests.Load() > 0 {
		t.Errorf("without credentials %d requests are made:\n%s", requests.Load(), without)
	}
	if full := call(0, "plan", "-f", "u.yaml", "--full"); !strings.Contains(full, "not verified: no AWS credentials") {
		t.Errorf("it does not say that nothing was verified:\n%s", full)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHETESTS")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "5ecretOfTheTests")
	unasked := call(0, "plan", "-f", "u.yaml", "--no-provider")
	if unasked != strings.Replace(without, "no AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "--no-provider was given", 1) || requests.Load() > 0 {
		t.Errorf("with --no-provider %d requests are made:\n%s", requests.Load(), unasked)
	}
	with := call(3, "plan", "-f", "u.yaml")
	for _, want := range []string{"image-exists", "ami-bad was not seen in eu-central-1", "instance-type", "the instance type m5.large does not exist in eu-central-1", "BLOCKED"} {
		if !strings.Contains(with, want) {
			t.Errorf("it does not say %q:\n%s", want, with)
		}
	}
	if strings.Contains(with, "5ecret") || strings.Contains(with, "AKID") {
		t.Errorf("it tells credentials:\n%s", with)
	}
	call(3, "apply", "-f", "u.yaml", "--auto-approve", "--journal", "file:journal")
	if n := len(world.Writes()); n > 0 {
		t.Errorf("%d writes", n)
	}
	t.Setenv("NODEPOOL_NO_PROVIDER", "1")
	if got := call(0, "plan", "-f", "u.yaml"); got != unasked {
		t.Errorf("with NODEPOOL_NO_PROVIDER:\n%s", got)
	}
}

// TestRollbackAsksAWS: where machines have to be made again, the image of before
// must still be there. No upgrade file can be corrected or hold a waiver, so that
// --no-provider is the way past an answer that is wrong.
func TestRollbackAsksAWS(t *testing.T) {
	var images atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		body, action := "", r.Form.Get("Action")
		switch action {
		case "DescribeImages": // the one of before is gone
			images.Add(1)
			for _, v := range r.Form {
				if v[0] == "ami-bad" {
					body = "<imagesSet><item><imageId>ami-bad</imageId><imageState>available</imageState><architecture>x86_64</architecture></item></imagesSet>"
				}
			}
		case "DescribeInstanceTypes":
			body = "<instanceTypeSet><item><instanceType>m5.large</instanceType></item></instanceTypeSet>"
		}
		fmt.Fprintf(w, `<%[1]sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId>%[2]s</%[1]sResponse>`, action, body)
	}))
	defer server.Close()
	waived := strings.Replace(badUpgrade, "ami-bad}", "ami-bad, waive: [{check: image-exists, reason: it is copied tonight}]}", 1)
	s := newSite(t, map[string]string{"u.yaml": waived}, clustertest.PoolVersion(pool0, "v1.35.0"))
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.do(0, "", "rollback", "-f", "u.yaml", "--out", "back.plan")
	writes := len(s.world.Writes())

	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHETESTS")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "5ecretOfTheTests")
	for _, args := range [][]string{
		{"rollback", "-f", "u.yaml", "--auto-approve"},
		{"rollback", "-f", "u.yaml", "--out", "blocked.plan"},
		{"apply", "--plan", "back.plan", "--auto-approve"},
	} {
		asked := images.Load()
		said := s.now(3, args...)
		s.says(said, "BLOCKED", "image-exists", "ami-0123456789abcdef0 was not seen in eu-central-1", "go forward by an upgrade with an image", "--no-provider")
		if images.Load() == asked {
			t.Errorf("%s asks nobody", strings.Join(args, " "))
		}
	}
	if n := len(s.world.Writes()); n != writes {
		t.Errorf("%d writes", n-writes)
	}
	asked := images.Load()
	s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve", "--no-provider")
	if s.template(pool0) != pool0 || images.Load() != asked {
		t.Errorf("template %s, asked %d times", s.template(pool0), images.Load()-asked)
	}
}

// now runs a command that waits for nothing of the world, in real time, so that
// it can talk to a server, and wants an exit code.
func (s *site) now(want int, args ...string) string {
	s.Helper()
	var out bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &out,
		open:    func(*cli.Context) (apply.Cluster, error) { return s.world.Open(nil), nil },
		connect: func(_ apply.Reader, of journal.Cluster) (*journal.InCluster, error) { return s.beside(of), nil }}
	if code := p.run(s.Context(), append([]string{"nodepool"}, args...)); code != want {
		s.Fatalf("nodepool %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, &out)
	}
	return out.String()
}
