package capi

import (
	"encoding/binary"
	"math"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Packed is an object as it is kept: whole, or, of kinds that a cluster has by
// the ten thousand, in few bytes, from which it is made anew each time that it is
// asked for. A map of up to eight fields takes 336 bytes and is looked through by
// each garbage collection; what is packed of a Machine takes about as much in all
// and is not. It does not change, and may be read by several goroutines.
type Packed struct {
	ref     Ref
	labels  map[string]any
	version string // resourceVersion
	whole   *unstructured.Unstructured
	data    string  // without the resourceVersion
	common  *common // what data refers to
}

// Whole gives an object to be kept as it is. It must not be changed any more.
func Whole(o *unstructured.Unstructured) *Packed {
	return &Packed{ref: RefOf(o), labels: seen(o.Object).object("metadata", "labels"), version: o.GetResourceVersion(), whole: o}
}

// Pack gives what SlimForPlan gives, in few bytes; what SlimForPlan leaves whole,
// it leaves whole too. It takes what it keeps out of o, which must not be used any
// more.
func (s *Slimmer) Pack(o *unstructured.Unstructured) *Packed {
	machine, ok := isMachine(o)
	if !ok {
		return Whole(s.Share(o))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pack(s.slimForPlan(o, machine))
}

// PackForJudge gives what Slim gives, in few bytes; what Slim leaves whole, it
// leaves whole too. It takes what it keeps out of o, which must not be used any more.
func (s *Slimmer) PackForJudge(o *unstructured.Unstructured) *Packed {
	machine, ok := isMachine(o)
	if !ok {
		return Whole(s.Slim(o))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pack(s.slim(o, machine))
}

func (s *store) pack(o *unstructured.Unstructured) *Packed {
	ref, version := RefOf(o), o.GetResourceVersion()
	ref.Group, ref.Kind, ref.Namespace = s.key(ref.Group), s.key(ref.Kind), s.key(ref.Namespace)
	if metadata, ok := o.Object["metadata"].(map[string]any); ok {
		delete(metadata, "resourceVersion")
	}
	return &Packed{ref: ref, labels: seen(o.Object).object("metadata", "labels"), version: version,
		data: s.packer.pack(o.Object, s.hashes), common: s.packer.common}
}

// Ref gives the identity of the object.
func (p *Packed) Ref() Ref { return p.ref }

// Labels gives the labels of the object, nil when it has none. They must not be
// changed.
func (p *Packed) Labels() map[string]any { return p.labels }

// Version gives the resourceVersion of the object.
func (p *Packed) Version() string { return p.version }

// GetObjectMeta gives that by which stores of client-go keep an object: its name
// and its version.
func (p *Packed) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: p.ref.Namespace, Name: p.ref.Name, ResourceVersion: p.version}
}

// Object gives the object. It must not be changed: parts of it may be parts of
// others. What was packed is made anew by each call.
func (p *Packed) Object() *unstructured.Unstructured {
	if p.whole != nil {
		return p.whole
	}
	u := unpacker{data: p.data, parts: p.common.all()}
	object, _ := u.value().(map[string]any)
	if metadata, ok := object["metadata"].(map[string]any); ok && p.version != "" {
		metadata["resourceVersion"] = p.version
	}
	return &unstructured.Unstructured{Object: object}
}

// common holds the values that packed objects refer to, by their number.
type common struct {
	mu    sync.RWMutex
	parts []any
}

func (c *common) add(v any) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts = append(c.parts, v)
	return uint64(len(c.parts))
}

// all gives the values so far; those in it never change.
func (c *common) all() []any {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.parts
}

// The first byte of a packed value says what follows.
const (
	packedNil    = iota
	packedFalse  // nothing
	packedTrue   // nothing
	packedInt    // a varint
	packedFloat  // eight bytes
	packedText   // its length and its bytes
	packedMap    // its length, and for each field the number of its name and its value
	packedList   // its length and its values
	packedCommon // the number of a value in common, and more than one object has it
)

// packer packs values. Texts and trees that it meets again are numbered then:
// of most, no two are the same.
type packer struct {
	common *common
	keys   map[string]uint64
	// texts and trees, by their address, are what was met, 0 when it was met once.
	texts map[string]uint64
	trees map[uintptr]uint64
	data  []byte
}

func (p *packer) pack(object map[string]any, once map[uintptr]uint64) string {
	p.data = p.data[:0]
	p.value(object, once)
	return string(p.data)
}

// value packs v. Once are the maps and lists that a store keeps once.
func (p *packer) value(v any, once map[uintptr]uint64) {
	switch v := v.(type) {
	case nil:
		p.data = append(p.data, packedNil)
	case bool:
		p.data = append(p.data, packedFalse)
		if v {
			p.data[len(p.data)-1] = packedTrue
		}
	case int64:
		p.data = binary.AppendVarint(append(p.data, packedInt), v)
	case float64:
		p.data = binary.LittleEndian.AppendUint64(append(p.data, packedFloat), math.Float64bits(v))
	case string:
		if again(p, p.texts, v, v) {
			return
		}
		p.data = append(binary.AppendUvarint(append(p.data, packedText), uint64(len(v))), v...)
	case map[string]any:
		if _, shared := once[address(v)]; shared && again(p, p.trees, address(v), any(v)) {
			return
		}
		p.data = binary.AppendUvarint(append(p.data, packedMap), uint64(len(v)))
		for key, value := range v {
			number, known := p.keys[key]
			if !known {
				number = p.common.add(key)
				p.keys[key] = number
			}
			p.data = binary.AppendUvarint(p.data, number)
			p.value(value, once)
		}
	case []any:
		if _, shared := once[address(v)]; shared && again(p, p.trees, address(v), any(v)) {
			return
		}
		p.data = binary.AppendUvarint(append(p.data, packedList), uint64(len(v)))
		for _, value := range v {
			p.value(value, once)
		}
	default: // nothing that comes from JSON
		p.data = binary.AppendUvarint(append(p.data, packedCommon), p.common.add(v))
	}
}

// again packs the number of what was met before.
func again[K comparable](p *packer, met map[K]uint64, key K, v any) bool {
	number, known := met[key]
	if !known {
		met[key] = 0
		return false
	}
	if number == 0 {
		number = p.common.add(v)
		met[key] = number
	}
	p.data = binary.AppendUvarint(append(p.data, packedCommon), number)
	return true
}

// unpacker reads what a packer wrote.
type unpacker struct {
	data  string
	parts []any
}

func (u *unpacker) value() any {
	kind := u.data[0]
	u.data = u.data[1:]
	switch kind {
	case packedFalse:
		return false
	case packedTrue:
		return true
	case packedInt:
		n := u.number()
		return int64(n>>1) ^ -int64(n&1) // as encoding/binary folds the sign
	case packedFloat:
		bits := binary.LittleEndian.Uint64([]byte(u.data[:8]))
		u.data = u.data[8:]
		return math.Float64frombits(bits)
	case packedText:
		n := u.number()
		text := u.data[:n]
		u.data = u.data[n:]
		return text
	case packedMap:
		n := u.number()
		out := make(map[string]any, n)
		for range n {
			key, _ := u.common().(string)
			out[key] = u.value()
		}
		return out
	case packedList:
		out := make([]any, u.number())
		for i := range out {
			out[i] = u.value()
		}
		return out
	case packedCommon:
		return u.common()
	}
	return nil
}

func (u *unpacker) common() any { return u.parts[u.number()-1] }

// number reads a uvarint.
func (u *unpacker) number() (n uint64) {
	for shift := 0; ; shift += 7 {
		b := u.data[0]
		u.data = u.data[1:]
		if n |= uint64(b&0x7f) << shift; b < 0x80 {
			return n
		}
	}
}
