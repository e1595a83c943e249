package kube

import (
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/json"

	"nodepool/plan"
)

// Words and Printable are tested by themselves: what they must keep out is
// easier to plant in them than in a server.
var (
	Words     = wordsWithout
	Printable = printable
)

// DecodeChange reads one change of a watch of what a selector names.
func DecodeChange(key plan.Selector, text string) (watch.EventType, runtime.Object, error) {
	body := io.NopCloser(strings.NewReader(text))
	return events{body, json.NewDecoderCaseSensitivePreserveInts(body), key}.Decode()
}
