#!/usr/bin/env bash
# The main job on an embedded management cluster: look, plan, apply, look again.
# KEEP=1 leaves the cluster running and says how to go on with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir=$(mktemp -d "${TMPDIR:-/tmp}/nodepool-demo.XXXXXX")
kept=
finish() {
	if [ -z "$kept" ]; then
		bin/sandbox reset --dir "$dir/sandbox" >/dev/null 2>&1 || true
		rm -rf "$dir"
	fi
}
trap finish EXIT

say() { printf '\n── %s\n\n' "$*"; }
show() { say "\$ ${*/#bin\//}"; "$@"; }

say "A management cluster: etcd, kube-apiserver and the Cluster API controllers, in $dir"
bin/sandbox up --dir "$dir/sandbox"
export KUBECONFIG=$dir/sandbox/kubeconfig

show bin/nodepool list
show bin/nodepool plan -f examples/upgrade.yaml
show bin/nodepool apply -f examples/upgrade.yaml --auto-approve
show bin/nodepool list
show bin/nodepool plan -f examples/upgrade.yaml --detailed-exitcode

if [ -n "${KEEP:-}" ]; then
	kept=1
	say "Left running. Use it with:  export KUBECONFIG=$KUBECONFIG"
	echo "Remove it with:             bin/sandbox reset --dir $dir/sandbox"
fi
