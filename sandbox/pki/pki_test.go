package pki

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func TestEnsure(t *testing.T) {
	dir := t.TempDir()
	admin := filepath.Join(dir, "kubeconfig")
	if err := Ensure(dir, admin, 20003); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://127.0.0.1:20003" {
		t.Errorf("server = %s", cfg.Host)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(cfg.CAData) {
		t.Fatal("the authority is not PEM")
	}
	client := parse(t, cfg.CertData)
	if _, err := client.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("client certificate: %v", err)
	}
	if client.Subject.CommonName != Admin || client.Subject.Organization[0] != "system:masters" {
		t.Errorf("subject = %v", client.Subject)
	}
	certPath, _ := Serving(dir)
	data, err := os.ReadFile(certPath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(t, data).Verify(x509.VerifyOptions{Roots: pool, DNSName: "127.0.0.1"}); err != nil {
		t.Errorf("serving certificate: %v", err)
	}
	for _, user := range []string{Controllers, Provider, GC, Seed, Supervisor} {
		if _, err := os.Stat(Kubeconfig(dir, user)); err != nil {
			t.Errorf("kubeconfig of %s: %v", user, err)
		}
	}

	if err := Ensure(dir, admin, 20003); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(admin)
	if err != nil || string(after) != string(before) {
		t.Errorf("a second Ensure changed the kubeconfig (%v)", err)
	}
}

func TestEnsureReportsABrokenAuthority(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"ca.crt", "ca.key"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := Ensure(dir, filepath.Join(dir, "kubeconfig"), 20003)
	if err == nil || !strings.Contains(err.Error(), "sandbox reset") {
		t.Errorf("Ensure = %v, want an error that says what to do", err)
	}
}

func parse(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatal("not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
