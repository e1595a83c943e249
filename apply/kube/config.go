package kube

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // credential plugins, as kubectl has them
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"nodepool/apply"
	"nodepool/plan/capi"
)

var _ apply.Cluster = (*Cluster)(nil)

// Config says which cluster to talk to. The zero Config is what kubectl would
// use without flags.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file. Empty means what the
	// variable KUBECONFIG names, or ~/.kube/config, or the service account of
	// the pod that this runs in.
	Kubeconfig string
	// Context is the context of the kubeconfig; empty for its current one.
	Context string
	// UserAgent names this program to the server; empty for "nodepool".
	UserAgent string
}

// FieldManager is the name under which the server records what nodepool writes.
const FieldManager = "nodepool"

// Cluster is a management cluster. Its methods may be called from several
// goroutines.
type Cluster struct {
	host, context, namespace string

	config   *rest.Config
	requests rest.Interface // reads and writes, which count their own tries
	dynamic  dynamic.Interface
	metadata metadata.Interface
	kinds    kinds
	rules    rules
	warnings warnings
	patience patience
	sources  sources // of the feeds
	slimmer  capi.Slimmer
}

// patience bounds how long reads are repeated and how long a request may take.
type patience struct {
	// total is how long a read goes on being repeated; a try that has begun is
	// waited for.
	total time.Duration
	// try is how long one request of a read may take, write how long a write.
	try, write time.Duration
	backoff    wait.Backoff
	// start is how long a watch waits for its informers before it leaves the
	// waiting to the feed.
	start time.Duration
}

func defaultPatience() patience {
	return patience{
		total: 20 * time.Second,
		try:   15 * time.Second,
		// An admission webhook may take 30 s, and the server gives up a request
		// after 60 s.
		write:   65 * time.Second,
		backoff: wait.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 12, Cap: 4 * time.Second},
		start:   20 * time.Second,
	}
}

// Open finds the cluster by the rules of kubectl. It sends no request.
func Open(c Config) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: c.Context})
	quiet()
	config, err := loader.ClientConfig()
	if err != nil {
		if clientcmd.IsEmptyConfig(err) {
			return nil, fmt.Errorf("no kubeconfig was found (looked at %s); set KUBECONFIG, or name a file with --kubeconfig FILE",
				strings.Join(rules.GetLoadingPrecedence(), ", "))
		}
		return nil, fmt.Errorf("read the kubeconfig (--kubeconfig, KUBECONFIG, --context): %w", err)
	}
	if c.UserAgent != "" {
		config.UserAgent = c.UserAgent
	}
	out, err := New(config)
	if err != nil {
		return nil, err
	}
	if out.namespace, _, err = loader.Namespace(); err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	out.context = c.Context
	if raw, err := loader.RawConfig(); err == nil && out.context == "" {
		out.context = raw.CurrentContext
	}
	return out, nil
}

// New gives the cluster of a client configuration. It sends no request.
func New(config *rest.Config) (*Cluster, error) {
	quiet()
	config = rest.CopyConfig(config)
	if config.UserAgent == "" {
		config.UserAgent = "nodepool"
	}
	if config.QPS == 0 {
		// No limit here: what is under way together is bounded, and the server
		// bounds what it takes (API Priority and Fairness).
		config.QPS = -1
	}
	out := &Cluster{config: config, host: config.Host, namespace: "default", patience: defaultPatience()}
	config.WarningHandler = &out.warnings
	config.WarningHandlerWithContext = nil
	config.Wrap(newFirst().wrap)

	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	if out.requests, err = requests(config, client); err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	if out.dynamic, err = dynamic.NewForConfigAndClient(config, client); err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	if out.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(config), client); err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	out.kinds.init(out)
	return out, nil
}

// requests gives a client for any path. It stands beside the dynamic client,
// which repeats a write by itself when the server answers with Retry-After.
func requests(config *rest.Config, client *http.Client) (rest.Interface, error) {
	config = dynamic.ConfigFor(config)
	config.GroupVersion = &schema.GroupVersion{}
	config.APIPath = "/"
	return rest.UnversionedRESTClientForConfigAndClient(config, client)
}

// Config is a copy of the client configuration: for clients of what nodepool
// keeps beside its plans.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Host is the address of the server.
func (c *Cluster) Host() string { return c.host }

// Context is the name of the kubeconfig's context; empty in a pod.
func (c *Cluster) Context() string { return c.context }

// Namespace is the default namespace of the context.
func (c *Cluster) Namespace() string { return c.namespace }

// Warnings gives what the server warned of so far, each warning once, in the
// order of their coming.
func (c *Cluster) Warnings() []string { return c.warnings.list() }

// warnings collects what a server sends in Warning headers, which client-go
// would print to standard error.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

// maxWarnings bounds what is kept: a warning may hold a name, and so come in
// any number of forms.
const maxWarnings = 100

func (w *warnings) HandleWarningHeader(code int, _ string, text string) {
	// 299 is the only code that Kubernetes sends; others come from proxies.
	if code != 299 {
		return
	}
	text = printable(withoutValues(text))
	w.mu.Lock()
	defer w.mu.Unlock()
	if text != "" && len(w.texts) < maxWarnings && !slices.Contains(w.texts, text) {
		w.texts = append(w.texts, text)
	}
}

func (w *warnings) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.texts)
}

var quiet = sync.OnceFunc(func() {
	// client-go logs through klog, which writes to standard error: over a live
	// display, and whole responses at a high verbosity.
	klog.SetLogger(logr.Discard())
})
