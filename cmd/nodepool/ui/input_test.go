package ui_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"nodepool/cmd/nodepool/ui"
)

func TestConfirm(t *testing.T) {
	for in, want := range map[string]bool{
		"yes\n": true, "yes\r\n": true, "  yes \n": true, "yes": true,
		"": false, "\n": false, "y\n": false, "Yes\n": false, "YES\n": false, "yes please\n": false, "no\nyes\n": false, "yes\x00\n": false,
		strings.Repeat(" ", 5000) + "yes\n": false,
	} {
		var out strings.Builder
		got, err := ui.Confirm(strings.NewReader(in), &out, "Apply? ")
		if err != nil || got != want {
			t.Errorf("Confirm(%.20q) = %t, %v, want %t", in, got, err, want)
		}
		if out.String() != "Apply? " {
			t.Errorf("asked %q", out.String())
		}
	}
}

func TestConfirmReadsNoMoreThanTheLine(t *testing.T) {
	in := strings.NewReader("yes\nrest")
	if ok, err := ui.Confirm(in, io.Discard, ""); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "rest" {
		t.Errorf("left %q", rest)
	}
}

func TestConfirmGivesErrors(t *testing.T) {
	broken := errors.New("broken")
	if ok, err := ui.Confirm(io.MultiReader(strings.NewReader("yes"), iotest.ErrReader(broken)), io.Discard, ""); ok || !errors.Is(err, broken) {
		t.Errorf("got %t, %v", ok, err)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := ui.Table(&b, []string{"NAME", "VERSION", "OWNER"}, [][]string{{"md-0", "v1.34.3", "-"}, {"a-much-longer-name", "v1\n\t\x1b[31m", "Argo CD"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `NAME                 VERSION          OWNER
md-0                 v1.34.3          -
a-much-longer-name   v1\n\t\x1b[31m   Argo CD
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
