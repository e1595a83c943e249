package plan

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SealedKey heads the object that stands for a secret in every digest, plan,
// journal and render: {"$sealed": "hmac-sha256:…", "length": 24}. The length
// is that of the value's canonical JSON, in bytes.
const SealedKey = "$sealed"

// secretKeys are the field names whose values are secrets, in any case and at any
// depth of a template of any provider: cloud-init files, users' passwords and keys,
// join tokens, kubeconfigs, ignition and user data. References to Secrets
// (contentFrom, passwdFrom, secretName) are not secrets themselves.
var secretKeys = []string{"content", "contents", "passwd", "password", "passwords", "token", "tlsBootstrapToken",
	"certificateKey", "kubeConfig", "privateKey", "clientSecret", "secretKey", "accessKey", "apiKey", "credentials",
	"sshAuthorizedKeys", "additionalConfig", "ignition", "userData", "additionalUserDataFiles", "uncompressedUserData", "customData", "cloudInit"}

func isSecretKey(name string) bool {
	return slices.ContainsFunc(secretKeys, func(key string) bool { return strings.EqualFold(key, name) })
}

// secretText are values that are secret wherever they stand, such as in a
// command: private keys and kubeadm's bootstrap tokens.
var secretText = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----|\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)

// isSecretText asks the expression only where there is what all that it finds has.
func isSecretText(text string) bool {
	return (strings.Contains(text, ".") || strings.Contains(text, "PRIVATE KEY")) && secretText.MatchString(text)
}

// sealer replaces secrets by a keyed hash and a length, each scalar by itself:
// a merge patch may set one of several below a secret field, and what it says
// must be found again in the result. The key is the UID of
// the Cluster: the same for everyone who may read the cluster, live and from
// a snapshot, and not in any plan, so that who holds only the plan cannot
// look up a short password.
type sealer struct {
	key []byte
	// opened, when set, collects what was sealed: the hash and the value.
	opened map[string]any
}

func sealerOf(cluster *unstructured.Unstructured) sealer {
	return sealer{key: []byte("nodepool/seal/v1 " + string(cluster.GetUID()))}
}

// seal gives tree with every secret in it sealed; what holds none is shared with
// tree. Sealing twice changes nothing.
func (s sealer) seal(tree any) any {
	out, _ := s.sealIn(tree, false)
	return out
}

// sealValue seals every scalar of v.
func (s sealer) sealValue(v any) any {
	out, _ := s.sealIn(v, true)
	return out
}

// sealUnder seals the value of a field; with no sealer it gives v.
func (s *sealer) sealUnder(name string, v any) any {
	if s == nil {
		return v
	}
	out, _ := s.sealIn(v, isSecretKey(name))
	return out
}

// sealIn seals the secrets in tree, and every scalar where all of it is secret. It
// reports whether there was any.
func (s sealer) sealIn(tree any, secret bool) (out any, sealed bool) {
	switch node := tree.(type) {
	case map[string]any:
		if isSealed(node) {
			return node, false
		}
		copied := node
		for k, v := range node {
			if v, changed := s.sealIn(v, secret || isSecretKey(k)); changed {
				if !sealed {
					copied, sealed = maps.Clone(node), true
				}
				copied[k] = v
			}
		}
		return copied, sealed
	case []any:
		copied := node
		for i, v := range node {
			if v, changed := s.sealIn(v, secret); changed {
				if !sealed {
					copied, sealed = slices.Clone(node), true
				}
				copied[i] = v
			}
		}
		return copied, sealed
	case string:
		secret = secret || isSecretText(node)
	}
	if !secret || isEmpty(tree) {
		return tree, false
	}
	raw := mustCanonical(tree)
	mac := hmac.New(sha256.New, s.key)
	mac.Write(raw)
	hash := "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil))
	if s.opened != nil {
		s.opened[hash] = tree
	}
	return map[string]any{SealedKey: hash, "length": int64(len(raw))}, true
}

func isSealed(m map[string]any) bool {
	_, ok := m[SealedKey].(string)
	return ok
}

// sealedAt finds the first sealed value in tree, which stands at the pointer at.
func sealedAt(at Pointer, tree any) (Pointer, bool) {
	switch node := tree.(type) {
	case map[string]any:
		if isSealed(node) {
			return at, true
		}
		for _, k := range slices.Sorted(maps.Keys(node)) {
			if p, ok := sealedAt(at.Append(k), node[k]); ok {
				return p, true
			}
		}
	case []any:
		for i, v := range node {
			if p, ok := sealedAt(at.Append(strconv.Itoa(i)), v); ok {
				return p, true
			}
		}
	}
	return "", false
}

func isEmpty(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case string:
		return x == ""
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	}
	return false
}

// unseal puts the values back for which opened holds the hash. It gives the
// hashes that it holds no value for.
func unseal(tree any, opened map[string]any) (out any, missing []string) {
	switch node := tree.(type) {
	case map[string]any:
		if isSealed(node) {
			hash := node[SealedKey].(string)
			v, ok := opened[hash]
			if !ok {
				return node, []string{hash}
			}
			return v, nil
		}
		m := make(map[string]any, len(node))
		for k, v := range node {
			var miss []string
			m[k], miss = unseal(v, opened)
			missing = append(missing, miss...)
		}
		return m, missing
	case []any:
		l := make([]any, len(node))
		for i, v := range node {
			var miss []string
			l[i], miss = unseal(v, opened)
			missing = append(missing, miss...)
		}
		return l, missing
	}
	return tree, nil
}
