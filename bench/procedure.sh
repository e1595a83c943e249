# The update of a worker node pool by hand, up to the patch of the
# MachineDeployment: CLUSTER NAMESPACE [server]. With "server", the two writes
# are sent as dry runs; otherwise they are made up and not sent.
set -eu -o pipefail
cluster=$1 mode=$3
kubectl() { "$KUBECTL" "$@"; }
remote() { kubectl -n "$namespace" "$@"; }
namespace=$2
edit() { kubectl patch --local=true -f- --type=merge --output=yaml "$@"; }

remote get kubeadmcontrolplane "$cluster-control-plane" >/dev/null
pool=$(remote get machinedeployments --selector="cluster.x-k8s.io/cluster-name=$cluster" -ojsonpath='{.items[0].metadata.name}')
template=$(remote get machinedeployments "$pool" -ojsonpath='{.spec.template.spec.infrastructureRef.name}')
new=$pool-$(head -c4 /proc/sys/kernel/random/uuid)

remote get awsmachinetemplate "$template" --output=yaml |
	edit --patch='{"metadata": {"name": "'"$new"'", "resourceVersion": null}}' |
	edit --patch='{"spec": {"template": {"spec": {"ami": {"id": "ami-new"}}}}}' |
	edit --patch='{}' |
	if [ "$mode" = server ]; then kubectl create --dry-run=server -f-; else cat; fi >/dev/null

remote get machinedeployment "$pool" --output=yaml |
	edit --patch='{"spec": {"template": {"spec": {"infrastructureRef": {"name": "'"$new"'"}}}}}' |
	edit --patch='{"spec": {"template": {"spec": {"version": "v1.35.2"}}}}' |
	if [ "$mode" = server ]; then kubectl apply --dry-run=server -f-; else cat; fi >/dev/null
