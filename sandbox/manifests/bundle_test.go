package manifests

import (
	"errors"
	"reflect"
	"testing"
)

func TestWriteThenRead(t *testing.T) {
	want := &Bundle{Components: []Component{{Name: Core, CRDs: []map[string]any{{"kind": "A"}}}}}
	data, err := Write(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Components, want.Components) || got.Digest == "" {
		t.Errorf("Read = %+v", got)
	}
	again, err := Write(want)
	if err != nil || !reflect.DeepEqual(again, data) {
		t.Errorf("the same bundle gives other bytes (%v)", err)
	}
}

func TestReadWithoutManifests(t *testing.T) {
	if _, err := Read(nil); !errors.Is(err, ErrNone) {
		t.Errorf("Read(nil) = %v, want ErrNone", err)
	}
	if _, err := Read([]byte("nonsense")); err == nil {
		t.Error("Read of nonsense succeeded")
	}
}
