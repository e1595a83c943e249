package schema_test

import (
	"encoding/json"
	"testing"
	"time"

	"nodepool/schema"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "10m": 10 * time.Minute, "10m0s": 10 * time.Minute, "1h30m": 90 * time.Minute, "1000ms": time.Second,
	} {
		var d schema.Duration
		if err := json.Unmarshal([]byte(`"`+text+`"`), &d); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if d.Std() != want {
			t.Errorf("%s is %v, want %v", text, d.Std(), want)
		}
		out, err := json.Marshal(d)
		if err != nil || string(out) != `"`+want.String()+`"` {
			t.Errorf("%s is written %s (%v), want %q", text, out, err, want)
		}
	}
	for _, text := range []string{`"-1s"`, `"1500ms"`, `"10"`, `"1d"`, `""`, `"600000h"`, `600`, `true`, `{}`} {
		var d schema.Duration
		if err := json.Unmarshal([]byte(text), &d); err == nil {
			t.Errorf("%s was taken for %v", text, d)
		}
	}
}
