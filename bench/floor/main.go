// Floor makes the reads that it is told on standard input, one path a line, and
// does nothing with them: the least that a Go program with client-go can take
// for them. One connection, eight reads at once, lists followed to their end,
// each object decoded.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.UserAgent, config.QPS = "floor", -1
	config = dynamic.ConfigFor(config)
	config.GroupVersion, config.APIPath = &schema.GroupVersion{}, "/"
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return err
	}
	var paths []string
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		paths = append(paths, lines.Text())
	}
	errs := make([]error, len(paths))
	objects := atomic.Int64{}
	workqueue.ParallelizeUntil(ctx, 8, len(paths), func(i int) {
		n, err := read(ctx, client, paths[i])
		objects.Add(int64(n))
		errs[i] = err
	})
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("%s: %w", paths[i], err)
		}
	}
	fmt.Println(objects.Load(), "objects")
	return nil
}

// read makes one read and gives how many objects came.
func read(ctx context.Context, client rest.Interface, path string) (int, error) {
	address, err := url.Parse(path)
	if err != nil {
		return 0, err
	}
	for n := 0; ; {
		body, err := client.Get().RequestURI(address.String()).Do(ctx).Raw()
		if err != nil {
			return 0, err
		}
		decoded, _, err := unstructured.UnstructuredJSONScheme.Decode(body, nil, nil)
		if err != nil {
			return 0, err
		}
		list, ok := decoded.(*unstructured.UnstructuredList)
		if !ok {
			return 1, nil
		}
		n += len(list.Items)
		if list.GetContinue() == "" {
			return n, nil
		}
		query := address.Query()
		query.Set("continue", list.GetContinue())
		address.RawQuery = query.Encode()
	}
}
