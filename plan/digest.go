package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"regexp"
	"strconv"
	"strings"
)

// Digest is "sha256:" and 64 hexadecimal digits, of canonical JSON.
type Digest string

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Valid reports whether d has the form of a digest.
func (d Digest) Valid() bool { return digestForm.MatchString(string(d)) }

// Short gives the first 12 hexadecimal digits, for people to compare.
func (d Digest) Short() string {
	hexes := strings.TrimPrefix(string(d), "sha256:")
	return hexes[:min(12, len(hexes))]
}

// canonical encodes a tree of JSON values in the one form that is compared
// and digested: sorted keys, no white space, no HTML escapes.
func canonical(v any) (json.RawMessage, error) {
	switch x := v.(type) { // most values; the encoder takes 64 bytes for the shortest
	case string:
		if isPlain(x) {
			return json.RawMessage(`"` + x + `"`), nil
		}
	case int64:
		return strconv.AppendInt(nil, x, 10), nil
	case bool:
		return strconv.AppendBool(nil, x), nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode value: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// isPlain reports whether text stands in JSON as it is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// mustCanonical is canonical for trees that came out of a JSON or YAML
// decoder and so cannot fail to encode.
func mustCanonical(v any) json.RawMessage {
	b, err := canonical(v)
	if err != nil {
		panic(err)
	}
	return b
}

func digestOf(v any) Digest { return digestOfJSON(mustCanonical(v)) }

func digestOfJSON(raw json.RawMessage) Digest {
	sum := sha256.New()
	sum.Write(raw)
	return digestOfSum(sum)
}

func digestOfSum(sum hash.Hash) Digest { return Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))) }

// decodeValue reads canonical JSON back to a tree; whole numbers become
// int64 as they are in objects from the API server.
func decodeValue(raw json.RawMessage) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return numbers(v), nil
}

func numbers(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			x[k] = numbers(x[k])
		}
	case []any:
		for i := range x {
			x[i] = numbers(x[i])
		}
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		f, _ := x.Float64()
		return f
	}
	return v
}
