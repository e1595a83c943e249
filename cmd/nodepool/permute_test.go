package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
)

func TestPermute(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"options first":            {"show -o json FILE", "show -o json FILE"},
		"options last":             {"show FILE -o json", "show -o json FILE"},
		"long option last":         {"show FILE --output json", "show --output json FILE"},
		"long option, one dash":    {"show FILE -output json", "show -output json FILE"},
		"value behind =":           {"show FILE -o=json", "show -o=json FILE"},
		"long value behind =":      {"show FILE --output=json", "show --output=json FILE"},
		"no value":                 {"show FILE --no-color", "show --no-color FILE"},
		"no value, then argument":  {"diff --no-color OLD NEW", "diff --no-color OLD NEW"},
		"in between":               {"diff OLD -o json NEW --no-color", "diff -o json --no-color OLD NEW"},
		"arguments keep order":     {"diff B -o json A", "diff -o json B A"},
		"options keep order":       {"plan --pool b -f u --pool a", "plan --pool b -f u --pool a"},
		"the last one counts":      {"show FILE -o json -o yaml", "show -o json -o yaml FILE"},
		"value that is a command":  {"plan x -f plan", "plan -f plan x"},
		"value with a dash":        {"plan x --out -o", "plan --out -o x"},
		"value that is --":         {"plan x --out -- y", "plan --out -- x y"},
		"standard input":           {"plan x -f -", "plan -f - x"},
		"a dash is an argument":    {"show - -o json", "show -o json -"},
		"behind --":                {"show -- -o", "show -- -o"},
		"options before --":        {"diff A -o json -- -B", "diff -o json -- A -B"},
		"nothing behind --":        {"show A --", "show -- A"},
		"unknown":                  {"show FILE --frob x", "show --frob FILE x"},
		"glued":                    {"show FILE -ojson", "show -ojson FILE"},
		"a value is lacking":       {"show FILE -o", "show -o"},
		"help":                     {"show FILE --help", "show --help FILE"},
		"global option first":      {"--version show FILE -o json", "--version show -o json FILE"},
		"no command":               {"--help", "--help"},
		"nothing":                  {"", ""},
		"unknown command":          {"frob FILE -o json", "frob FILE -o json"},
		"-- instead of a command":  {"-- show FILE -o json", "-- show -o json FILE"},
		"option of another":        {"-o json show FILE", "-o json show FILE"},
		"argument of schema":       {"schema upgrade", "schema upgrade"},
		"no argument is taken":     {"validate u.yaml -f v.yaml", "validate -f v.yaml u.yaml"},
		"an argument and a flag =": {"show FILE --no-color=false -o yaml", "show --no-color=false -o yaml FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			in := append([]string{"nodepool"}, strings.Fields(tc.in)...)
			want := append([]string{"nodepool"}, strings.Fields(tc.want)...)
			if diff := cmp.Diff(want, permute((&program{}).app(), in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(append([]string{"nodepool"}, strings.Fields(tc.in)...), in); diff != "" {
				t.Errorf("its input was changed (-want +got):\n%s", diff)
			}
		})
	}
	if got := permute((&program{}).app(), nil); len(got) != 0 {
		t.Errorf("no arguments at all: got %q", got)
	}
}

// TestOptionsAfterArguments runs the commands that take arguments both ways.
func TestOptionsAfterArguments(t *testing.T) {
	runIn(t, map[string]string{"u.yaml": goodUpgrade, "w.json": dump(t, clustertest.AWSExample())}, "",
		"plan", "-f", "u.yaml", "--from", "w.json", "--out", "a.plan")
	for _, tc := range [][2]string{
		{"show -o json a.plan", "show a.plan -o json"},
		{"show --output=yaml a.plan", "show a.plan --output=yaml"},
		{"show -o markdown -- a.plan", "show a.plan -o markdown"},
		{"diff -o json a.plan a.plan", "diff a.plan a.plan -o json"},
		{"diff -o json a.plan a.plan", "diff a.plan -o json a.plan"},
	} {
		want := must(t, 0, "", strings.Fields(tc[0])...)
		if got := must(t, 0, "", strings.Fields(tc[1])...); got != want || want == "" {
			t.Errorf("%q and %q differ:\n%s\n%s", tc[0], tc[1], want, got)
		}
	}
	for args, want := range map[string]string{
		"show a.plan -o":          "flag needs an argument: -o",
		"show a.plan --frob":      "-frob",
		"show a.plan -ojson":      "-ojson",
		"validate u.yaml -f":      "flag needs an argument: -f",
		"plan u.yaml -f u.yaml":   `"u.yaml" was given`,
		"show a.plan -- -o":       "Give the one file",
		"schema upgrade --output": "-output",
	} {
		if code, stdout, stderr := call(t, "", strings.Fields(args)...); code != 1 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q, and it does not tell %q:\n%s", args, code, stdout, want, stderr)
		}
	}
}
