package schema

import (
	"k8s.io/apimachinery/pkg/util/validation"
)

// naming is a rule for names.
type naming int

const (
	subdomain  naming = iota // RFC 1123 subdomain: names of most objects
	label                    // RFC 1123 label: namespaces
	labelValue               // a subdomain that is also a label's value
)

// name reads a name. Cluster API writes the names of Clusters and of
// MachineDeployments into labels (cluster.x-k8s.io/cluster-name and
// /deployment-name), which bounds them to 63 characters.
func (d decoder) name(v *value, rule naming) string {
	s, ok := d.text(v, "aws-example-md-0")
	if !ok {
		return ""
	}
	const remedy = "use a-z, 0-9 and -, beginning and ending with a letter or digit"
	switch {
	case rule == label && len(validation.IsDNS1123Label(s)) > 0:
		d.at(v, quote(s)+" is not an RFC 1123 label", remedy+", at most 63 characters")
	case len(validation.IsDNS1123Subdomain(s)) > 0:
		d.at(v, quote(s)+" is not an RFC 1123 subdomain", remedy+"; dots between such parts")
	case rule == labelValue && len(s) > validation.LabelValueMaxLength:
		d.at(v, quote(s)+" is longer than 63 characters", "Cluster API keeps this name in a label: use the name of an existing object")
	default:
		return s
	}
	return ""
}
