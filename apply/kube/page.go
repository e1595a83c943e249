package kube

import (
	gojson "encoding/json"
	"errors"
	"io"

	"sigs.k8s.io/json"
)

// page is what a list says beside its items.
type page struct {
	ResourceVersion    string `json:"resourceVersion"`
	Continue           string `json:"continue"`
	RemainingItemCount *int64 `json:"remainingItemCount"`
}

// readPage reads one page of a list, as the server sends it, and gives each item
// to take as soon as it is there: a page of 500 items decoded whole is of many
// megabytes, and most of an item is dropped at once. Managed fields, half of an
// item, are decoded with managed alone.
func readPage(body io.Reader, managed bool, take func(item map[string]any)) (page, error) {
	var out page
	listed := false
	r := reader{json.NewDecoderCaseSensitivePreserveInts(body)}
	err := r.object(func(key string) error {
		switch key {
		case "metadata":
			return r.decoder.Decode(&out)
		case "items":
			listed = true
			return r.items(managed, take)
		}
		return r.skip()
	})
	if err == nil && !listed {
		err = errors.New("the server sent something else than a list")
	}
	return out, err
}

// reader goes through JSON piece by piece.
type reader struct{ decoder json.Decoder }

// object reads an object; field must read the value of each key.
func (r reader) object(field func(key string) error) error {
	if err := r.delimiter('{'); err != nil {
		return err
	}
	for r.decoder.More() {
		token, err := r.decoder.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		if err := field(key); err != nil {
			return err
		}
	}
	return r.delimiter('}')
}

// items reads the items of a list; there may be null in place of them.
func (r reader) items(managed bool, take func(map[string]any)) error {
	token, err := r.decoder.Token()
	if err != nil || token == nil {
		return err
	}
	if token != gojson.Delim('[') {
		return errUnlike
	}
	for r.decoder.More() {
		item, err := r.item(managed)
		if err != nil {
			return err
		}
		take(item)
	}
	return r.delimiter(']')
}

func (r reader) item(managed bool) (map[string]any, error) {
	item := map[string]any{}
	return item, r.object(func(key string) error {
		if key != "metadata" {
			return r.value(item, key)
		}
		metadata := map[string]any{}
		item[key] = metadata
		return r.object(func(key string) error {
			if key == "managedFields" && !managed {
				return r.skip()
			}
			return r.value(metadata, key)
		})
	})
}

func (r reader) value(into map[string]any, key string) error {
	var v any
	if err := r.decoder.Decode(&v); err != nil {
		return err
	}
	into[key] = v
	return nil
}

func (r reader) skip() error { return r.decoder.Decode(&nothing{}) }

// nothing takes any value and keeps none of it.
type nothing struct{}

func (*nothing) UnmarshalJSON([]byte) error { return nil }

var errUnlike = errors.New("the server sent a list of an unknown form")

func (r reader) delimiter(want gojson.Delim) error {
	token, err := r.decoder.Token()
	if err == nil && token != want {
		return errUnlike
	}
	return err
}
