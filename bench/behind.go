package main

import "strings"

// behind says what stands between a row and its aim, by the row's work and, where
// the same work stands against several, " against " and that. It is shown where
// the aim is missed, and kept by hand: a row that has missed its aim without a
// text here is named when the report is written.
var behind = map[string]string{
	"plan of one pool against the procedure with kubectl":                                         "the procedure is ten runs of kubectl, most of them side by side in pipes, and each takes about as long as the plan, a third of which is the start of the program",
	"plan of one pool, validated by the server against the procedure with kubectl, validated":     "the procedure is twelve runs of kubectl, most of them side by side in pipes, and each takes about as long as the plan, a third of which is the start of the program",
	"plan of 1000 pools, peak memory":                                                             machinesRead,
	"apply of one pool, from the approval to the patch":                                           "it takes the lock of the pool, looks again at what was approved before each write, and behind it, and writes its journal before and after: seven requests or rounds of them that wait for one another, of which two are the writes ([ADR 39](adr/0039-fewer-turns.md))",
	"size of the binary, stripped":                                                                "client-go's own lock and its generated clients, which bring the types of all of Kubernetes, 12 MiB ([ADR 38](adr/0038-small-and-quick.md))",
	"plan of one pool against one kubectl get machinedeployment -o yaml":                          "it reads a dozen kinds in three rounds, since one object names the next, and asks in which versions they are served, which kubectl has from a cache on the disk. A third of its time is its own start ([ADR 39](adr/0039-fewer-turns.md))",
	"plan of one pool, validated by the server against one kubectl get machinedeployment -o yaml": "the two dry runs, which go through the admission webhooks of Cluster API; without them the plan takes less than the get",
	"from the last event of a rollout to apply's return, median":                                  "the last update of the journal, the end of the lock, and a look at the journal come behind one another, each as long as the API server takes",
	"wait for 50 pools and 5000 machines, share of a core":                                        "decoding, judging and the connection are a fifth each; the rest is in the informers, the scheduler and the garbage collector ([ADR 36](adr/0036-a-wait-keeps-what-it-judges.md))",
	"wait for 50 pools and 5000 machines, peak memory":                                            "30 MiB are kept, Go keeps as much garbage beside it, 39 MiB are pages of the program itself, and 20 MiB are room between objects and the runtime's own ([ADR 36](adr/0036-a-wait-keeps-what-it-judges.md))",
}

const machinesRead = "50 MiB are kept of 33,000 objects, half of them packed Machines and what these refer to ([ADR 40](adr/0040-packed-objects.md)); what the pools are to be, and the plan, are 18 MiB more ([ADR 38](adr/0038-small-and-quick.md)), Go keeps as much garbage as is in use, and 38 MiB are pages of the program"

// Behind gives the text for a row; empty when there is none.
func (r Row) Behind() string {
	if text := behind[r.Work+" against "+r.Against]; text != "" {
		return text
	}
	if text := behind[r.Work]; text != "" {
		return text
	}
	// Of a work at several paces: "WORK, PACE, WHAT" is told for "WORK, WHAT".
	if parts := strings.Split(r.Work, ", "); len(parts) > 2 {
		return behind[parts[0]+", "+parts[len(parts)-1]]
	}
	return ""
}
