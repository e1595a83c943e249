package workload_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"nodepool/apply/workload"
)

// secret is in every value of a kubeconfig that a test must not see again.
const secret = "hunter2"

// kubeconfig gives a kubeconfig whose cluster and user have these lines.
func kubeconfig(cluster, user string) string {
	return `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {` + cluster + `}}]
users: [{name: u, user: {` + user + `}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`
}

// pair is a certificate with its key, in PEM.
var pair = sync.OnceValues(func() (cert, key []byte) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: secret}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &k.PublicKey, k)
	if err != nil {
		panic(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
})

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func certificate() string {
	cert, key := pair()
	return "client-certificate-data: " + b64(cert) + ", client-key-data: " + b64(key)
}

const (
	goodServer = "server: https://" + secret + ".test:6443"
	goodUser   = "token: " + secret
)

func TestKubeconfigs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ kubeconfig, refused string }{
		"token":                        {kubeconfig(goodServer, goodUser), ""},
		"client certificate":           {kubeconfig(goodServer, certificate()), ""},
		"server name":                  {kubeconfig(goodServer+", tls-server-name: kubernetes", goodUser), ""},
		"server below a path":          {kubeconfig(goodServer+"/k8s/clusters/c-1", goodUser), ""},
		"exec":                         {kubeconfig(goodServer, "exec: {apiVersion: client.authentication.k8s.io/v1, command: "+secret+", interactiveMode: Never}"), "exec (it would run a program)"},
		"exec beside a token":          {kubeconfig(goodServer, goodUser+", exec: {apiVersion: client.authentication.k8s.io/v1, command: "+secret+", interactiveMode: Never}"), "exec (it would run a program)"},
		"auth provider":                {kubeconfig(goodServer, "auth-provider: {name: oidc, config: {id-token: "+secret+"}}"), "auth-provider"},
		"authority in a file":          {kubeconfig(goodServer+", certificate-authority: /"+secret, goodUser), "certificate-authority (a file)"},
		"certificate and key in files": {kubeconfig(goodServer, "client-certificate: /"+secret+", client-key: /"+secret), "client-certificate (a file), client-key (a file)"},
		"token in a file":              {kubeconfig(goodServer, "tokenFile: /"+secret), "tokenFile (a file)"},
		"token in a file too":          {kubeconfig(goodServer, goodUser+", tokenFile: /"+secret), "tokenFile (a file)"},
		"proxy":                        {kubeconfig(goodServer+", proxy-url: http://"+secret, goodUser), "proxy-url"},
		"no verification":              {kubeconfig(goodServer+", insecure-skip-tls-verify: true", goodUser), "insecure-skip-tls-verify"},
		"password":                     {kubeconfig(goodServer, "username: "+secret+", password: "+secret), "username and password"},
		"impersonation":                {kubeconfig(goodServer, goodUser+", as: "+secret), "impersonation"},
		"impersonated groups":          {kubeconfig(goodServer, goodUser+", as-groups: ["+secret+"]"), "impersonation"},
		"plain http":                   {kubeconfig("server: http://"+secret, goodUser), "no plain https address"},
		"no scheme":                    {kubeconfig("server: "+secret+":6443", goodUser), "no plain https address"},
		"credentials in the address":   {kubeconfig("server: https://u:"+secret+"@h", goodUser), "no plain https address"},
		"a query in the address":       {kubeconfig(`server: "https://h?`+secret+`"`, goodUser), "no plain https address"},
		"no server":                    {kubeconfig("", goodUser), "no plain https address"},
		"nobody":                       {kubeconfig(goodServer, ""), "no client certificate with its key, and no token"},
		"certificate without a key":    {kubeconfig(goodServer, "client-certificate-data: aHVudGVyMg=="), "no client certificate with its key"},
		"no context":                   {strings.Replace(kubeconfig(goodServer, goodUser), "current-context: x", "current-context: elsewhere", 1), "no current context"},
		"no user":                      {strings.Replace(kubeconfig(goodServer, goodUser), "user: u}", "user: v}", 1), "a cluster or a user that it does not have"},
		"nothing":                      {"", "no current context"},
		"no YAML":                      {"{" + secret, "it is no kubeconfig"},
		"another kind":                 {"apiVersion: v1\nkind: " + secret, "it is no kubeconfig"},
		"a wrong type":                 {"clusters: " + secret, "it is no kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := workload.Config([]byte(test.kubeconfig))
			switch {
			case test.refused == "":
				if err != nil {
					t.Errorf("refused: %v", err)
				}
			case err == nil:
				t.Error("taken")
			case !strings.Contains(err.Error(), test.refused):
				t.Errorf("%q does not say %q", err, test.refused)
			case strings.Contains(err.Error(), secret):
				t.Errorf("%q holds what is in the Secret", err)
			}
		})
	}
}

// FuzzKubeconfig holds that no kubeconfig makes the reader panic, that none is
// used that has what is refused, and that no error quotes it.
func FuzzKubeconfig(f *testing.F) {
	f.Add(kubeconfig(goodServer, goodUser))
	f.Add(kubeconfig(goodServer, certificate()))
	f.Add(kubeconfig(goodServer, "exec: {command: "+secret+"}"))
	f.Add(kubeconfig(goodServer+", proxy-url: http://"+secret, goodUser))
	f.Add("clusters: &a [*a]")
	f.Add("{")
	f.Fuzz(func(t *testing.T, text string) {
		config, err := workload.Config([]byte(text))
		switch {
		case err == nil:
			if config.ExecProvider != nil || config.AuthProvider != nil || config.BearerTokenFile != "" || config.CAFile != "" || config.CertFile != "" ||
				config.KeyFile != "" || config.Insecure || config.Proxy != nil || config.Username != "" || config.Impersonate.UserName != "" ||
				!strings.HasPrefix(strings.ToLower(config.Host), "https://") {
				t.Errorf("%q is used as %v", text, config)
			}
		case strings.Contains(err.Error(), secret), len(err.Error()) > 400:
			t.Errorf("%q", err)
		}
	})
}
