package component

import "os"

// auditPolicy records every write once it is answered, with what was sent. The
// sandbox's own processes write far more than anybody under test; of theirs
// only the fact is kept. Of the user sandbox-audited it records the reads as
// well; of a large cluster that is generated, nothing.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: Metadata
  users: ["sandbox-audited"]
  verbs: [get, list, watch]
- level: None
  verbs: [get, list, watch]
- level: None
  users: ["sandbox:seed"]
  namespaces: [unwatched]
- level: Metadata
  users: [system:apiserver, "sandbox:controllers", "sandbox:provider", "sandbox:gc", "sandbox:supervisor"]
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
- level: None
`

func writeAuditPolicy(path string) error {
	return os.WriteFile(path, []byte(auditPolicy), 0o600)
}
