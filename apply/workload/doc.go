// Package workload looks at the workload cluster of an upgrade: at nodes, pods
// and disruption budgets, by the kubeconfig that Cluster API keeps in the Secret
// CLUSTER-kubeconfig. It gets and lists, page by page, and nothing else; what it
// reads is reduced at once, so that a large cluster takes no more memory than a
// page of it. Nothing of the Secret is in what it returns, and no text of an
// error is passed on, for it may hold the server's address or a name in a
// certificate.
package workload
