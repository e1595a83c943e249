package workload

import (
	"fmt"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// parse gives the client configuration of a kubeconfig's current context. It
// takes a server, a certificate authority, and a client certificate or a token,
// all in the kubeconfig itself. Whoever can write the Secret could otherwise
// have nodepool run a program, send a local file to a server of theirs, or talk
// through a proxy of theirs. The error names what is refused and no value.
func parse(data []byte) (*rest.Config, error) {
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, fmt.Errorf("it is no kubeconfig") // the error quotes it
	}
	context := config.Contexts[config.CurrentContext]
	if context == nil {
		return nil, fmt.Errorf("it has no current context")
	}
	cluster, user := config.Clusters[context.Cluster], config.AuthInfos[context.AuthInfo]
	if cluster == nil || user == nil {
		return nil, fmt.Errorf("its current context names a cluster or a user that it does not have")
	}
	if what := surprising(cluster, user); len(what) > 0 {
		return nil, fmt.Errorf("it has what nodepool does not use: %s", strings.Join(what, ", "))
	}
	server, err := url.Parse(cluster.Server)
	if err != nil || server.Scheme != "https" || server.Host == "" || server.User != nil || server.RawQuery != "" || server.Fragment != "" {
		return nil, fmt.Errorf("its server is no plain https address")
	}
	certificate := len(user.ClientCertificateData) > 0 && len(user.ClientKeyData) > 0
	if !certificate && user.Token == "" {
		return nil, fmt.Errorf("it has no client certificate with its key, and no token")
	}
	out := &rest.Config{
		Host:        cluster.Server,
		BearerToken: user.Token,
		TLSClientConfig: rest.TLSClientConfig{
			ServerName: cluster.TLSServerName,
			CAData:     cluster.CertificateAuthorityData,
		},
	}
	if certificate {
		out.TLSClientConfig.CertData, out.TLSClientConfig.KeyData = user.ClientCertificateData, user.ClientKeyData
	}
	return out, nil
}

// surprising lists what a kubeconfig that Cluster API makes does not have.
func surprising(cluster *api.Cluster, user *api.AuthInfo) []string {
	var out []string
	for _, f := range []struct {
		there bool
		what  string
	}{
		{user.Exec != nil, "exec (it would run a program)"},
		{user.AuthProvider != nil, "auth-provider"},
		{cluster.CertificateAuthority != "", "certificate-authority (a file)"},
		{user.ClientCertificate != "", "client-certificate (a file)"},
		{user.ClientKey != "", "client-key (a file)"},
		{user.TokenFile != "", "tokenFile (a file)"},
		{cluster.ProxyURL != "", "proxy-url"},
		{cluster.InsecureSkipTLSVerify, "insecure-skip-tls-verify"},
		{user.Username != "" || user.Password != "", "username and password"},
		{user.Impersonate != "" || user.ImpersonateUID != "" || len(user.ImpersonateGroups) > 0 || len(user.ImpersonateUserExtra) > 0, "impersonation"},
	} {
		if f.there {
			out = append(out, f.what)
		}
	}
	return out
}
