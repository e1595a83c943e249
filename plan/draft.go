package plan

import (
	"fmt"
	"strings"

	"nodepool/schema"
)

// Draft writes an upgrade file for the pools of one cluster: every pool with
// the values it has now, and beside them what they could be raised to. As it
// is, the file asks for nothing. Pools that nodepool cannot upgrade stand in
// it as comments that say why.
func Draft(cluster schema.ClusterRef, pools []PoolStatus) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	controlPlane := ""
	line("# The worker node pools of cluster %s/%s, as they are now.", cluster.Namespace, cluster.Name)
	for _, p := range pools {
		if p.ControlPlaneVersion != "" {
			controlPlane = p.ControlPlaneVersion
			line("# Control plane: %s at %s.", p.ControlPlane, controlPlane)
			break
		}
	}
	line("# Change what should change and remove the pools that should stay; then run")
	line("#   nodepool plan -f FILE")
	line("apiVersion: %s", schema.APIVersion)
	line("kind: %s", schema.Kind)
	line("metadata:")
	line("  name: %s-upgrade", cluster.Name)
	line("spec:")
	line("  cluster:")
	line("    name: %s", cluster.Name)
	line("    namespace: %s", cluster.Namespace)
	line("  # order: sequential    # one pool after the other; parallel: all at once")
	line("  pools:")
	usable := 0
	for _, p := range pools {
		line("    # %s, %s", machines(p.Replicas), p.Template)
		if p.Owner == "topology" {
			line("    # - name: %s    # owned by the cluster's topology: change Cluster.spec.topology instead", p.Name)
			continue
		}
		if p.Version == "" && !p.HasImage && !p.HasSize {
			line("    # - name: %s    # no version, image or type is known of it; set fields under infrastructure", p.Name)
			continue
		}
		usable++
		if p.Owner != "" {
			line("    # %s manages this MachineDeployment and may revert a change made here", p.Owner)
		}
		line("    - name: %s", p.Name)
		if p.Version != "" {
			switch {
			case controlPlane != "" && controlPlane != p.Version:
				line("      kubernetesVersion: %s    # the control plane is at %s", p.Version, controlPlane)
			case controlPlane != "":
				line("      kubernetesVersion: %s    # the control plane's version", p.Version)
			default:
				line("      kubernetesVersion: %s", p.Version)
			}
		}
		field := func(name, value string, has bool, pinned, unset string) {
			switch {
			case has && value != "":
				line("      %s: %q    # %s", name, value, pinned)
			case has:
				line("      # %s:    # %s", name, unset)
			}
		}
		field("machineImage", p.MachineImage, p.HasImage, "must be built for kubernetesVersion", "not set: the provider looks one up")
		field("instanceType", p.InstanceType, p.HasSize, "one that the region has", "not set")
	}
	if usable == 0 {
		line("    []")
	}
	return b.String()
}

func replicaCount(n int) string {
	if n == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", n)
}

func machines(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}
