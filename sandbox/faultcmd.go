package main

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"

	"nodepool/sandbox/faults"
	"nodepool/sandbox/pki"
	"nodepool/sandbox/state"
)

func faultConfigMaps(dir state.Dir) (corev1client.ConfigMapInterface, error) {
	if !state.Locked(dir.RunLock()) {
		return nil, fmt.Errorf("no sandbox runs in %s: `sandbox up` starts it", dir)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", pki.Kubeconfig(dir.PKI(), pki.Seed))
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = pki.Seed
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return client.CoreV1().ConfigMaps(faults.Namespace), nil
}

// changeFaults changes the fault table, whoever else changes it.
func changeFaults(ctx context.Context, out io.Writer, dir state.Dir, change func(*faults.Table) error) error {
	maps, err := faultConfigMaps(dir)
	if err != nil {
		return err
	}
	return retry.OnError(retry.DefaultRetry, func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }, func() error {
		cm, err := maps.Get(ctx, faults.Name, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		if missing {
			cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: faults.Name}}
		} else if err != nil {
			return err
		}
		table, err := faults.Parse(cm.Data)
		if err != nil {
			return err
		}
		if err := change(table); err != nil {
			return err
		}
		cm.Data = table.Data()
		if missing {
			_, err = maps.Create(ctx, cm, metav1.CreateOptions{})
		} else {
			_, err = maps.Update(ctx, cm, metav1.UpdateOptions{})
		}
		if err == nil {
			printFaults(out, cm.Data)
		}
		return err
	})
}

func listFaults(ctx context.Context, out io.Writer, dir state.Dir) error {
	maps, err := faultConfigMaps(dir)
	if err != nil {
		return err
	}
	cm, err := maps.Get(ctx, faults.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	printFaults(out, cm.Data)
	return nil
}

func printFaults(out io.Writer, data map[string]string) {
	if len(data) == 0 {
		fmt.Fprintln(out, "no faults")
		return
	}
	for _, key := range faults.Keys {
		if value, ok := data[key]; ok {
			fmt.Fprintf(out, "%s:\n%s", key, value)
		}
	}
}
