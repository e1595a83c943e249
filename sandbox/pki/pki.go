// Package pki makes the certificates and kubeconfigs of a sandbox.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The users that the sandbox itself acts as. The audit policy and the tests
// tell them from the administrator, who is a person or a tool under test.
const (
	Admin       = "sandbox-admin"
	Controllers = "sandbox:controllers"
	Provider    = "sandbox:provider"
	GC          = "sandbox:gc"
	Seed        = "sandbox:seed"
	Supervisor  = "sandbox:supervisor"
	// Audited is a second administrator, of whom the audit log holds the reads
	// as well.
	Audited = "sandbox-audited"
)

const validity = 10 * 365 * 24 * time.Hour

// Ensure makes what is missing in dir: the authority, the serving certificate
// of kube-apiserver and the webhooks, the service account key and one
// kubeconfig for each user.
func Ensure(dir, adminKubeconfig string, apiServerPort int) error {
	ca, err := ensureCA(dir)
	if err != nil {
		return err
	}
	if err := ca.ensureServing(dir); err != nil {
		return err
	}
	if err := ensureServiceAccountKey(dir); err != nil {
		return err
	}
	server := fmt.Sprintf("https://127.0.0.1:%d", apiServerPort)
	for _, user := range []string{Admin, Controllers, Provider, GC, Seed, Supervisor, Audited} {
		path := Kubeconfig(dir, user)
		if user == Admin {
			path = adminKubeconfig
		}
		if err := ca.ensureKubeconfig(path, user, server); err != nil {
			return err
		}
	}
	return nil
}

// CA is the path of the authority's certificate in dir.
func CA(dir string) string { return filepath.Join(dir, "ca.crt") }

// Serving returns the paths of the serving certificate and its key in dir.
func Serving(dir string) (cert, key string) {
	return filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
}

// ServiceAccountKey is the path of the key that signs service account tokens.
func ServiceAccountKey(dir string) string { return filepath.Join(dir, "sa.key") }

// Kubeconfig is the path of a user's kubeconfig in dir.
func Kubeconfig(dir, user string) string {
	return filepath.Join(dir, fmt.Sprintf("%s.kubeconfig", fileName(user)))
}

func fileName(user string) string {
	out := []byte(user)
	for i, c := range out {
		if c == ':' {
			out[i] = '-'
		}
	}
	return string(out)
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func ensureCA(dir string) (*authority, error) {
	certPath, keyPath := CA(dir), filepath.Join(dir, "ca.key")
	certPEM, certErr := os.ReadFile(certPath)
	keyPEM, keyErr := os.ReadFile(keyPath)
	if certErr == nil && keyErr == nil {
		return parseCA(dir, certPEM, keyPEM)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "sandbox"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(validity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err = encodeKey(key)
	if err != nil {
		return nil, err
	}
	certPEM = encodeCert(der)
	// The key first: a certificate without its key would look complete.
	if err := writeFile(keyPath, keyPEM); err != nil {
		return nil, err
	}
	if err := writeFile(certPath, certPEM); err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, pem: certPEM}, nil
}

func parseCA(dir string, certPEM, keyPEM []byte) (*authority, error) {
	bad := func(err any) error {
		return fmt.Errorf("the certificate authority in %s cannot be read (%v): `sandbox reset` makes a new one", dir, err)
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, bad("not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, bad(err)
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, bad(err)
	}
	return &authority{cert: cert, key: key, pem: certPEM}, nil
}

func (a *authority) issue(template *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(validity - 24*time.Hour)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodeKey(key)
	return encodeCert(der), keyPEM, err
}

func (a *authority) ensureServing(dir string) error {
	certPath, keyPath := Serving(dir)
	if exist(certPath, keyPath) {
		return nil
	}
	certPEM, keyPEM, err := a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "sandbox"},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return err
	}
	if err := writeFile(keyPath, keyPEM); err != nil {
		return err
	}
	return writeFile(certPath, certPEM)
}

func (a *authority) ensureKubeconfig(path, user, server string) error {
	if exist(path) {
		return nil
	}
	certPEM, keyPEM, err := a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	const name = "sandbox"
	data, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: server, CertificateAuthorityData: a.pem}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: certPEM, ClientKeyData: keyPEM}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: user}},
		CurrentContext: name,
	})
	if err != nil {
		return err
	}
	return writeFile(path, data)
}

func ensureServiceAccountKey(dir string) error {
	path := ServiceAccountKey(dir)
	if exist(path) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, keyPEM)
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func exist(paths ...string) bool {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return false
		}
	}
	return true
}

// writeFile writes in one step, so that exist never sees half a file.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
