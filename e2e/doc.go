// Package e2e runs the built programs, bin/nodepool and bin/sandbox, against
// each other: a real API server, real Cluster API controllers, and the product
// as its users have it. Its tests look at the management cluster with a client
// of their own and use none of the product's packages, so that they cannot
// share a mistake with it.
//
// The tests carry the build tag e2e and run with
//
//	go test -tags e2e ./e2e -count=1 -timeout 20m
//
// One sandbox is started for all of them in a temporary folder and deleted at
// the end, however the tests end. Each test makes a cluster of its own in a
// namespace of its own. These variables change what is run:
//
//	NODEPOOL_BIN, SANDBOX_BIN  the programs; ../bin/nodepool and ../bin/sandbox by default
//	NODEPOOL_E2E_DIR           the folder of a running sandbox to use and to leave running
//
// Of the faults (TestFaults…) a seeded sample is run. With the build tag faults
// beside e2e all of them are, for which there is "make faults". For these:
//
//	NODEPOOL_FAULTS_REPORT     the folder for the tables of faults and outcomes, as Markdown
//	NODEPOOL_FAULTS_SEED       the seed of the samples; 1 by default
//	NODEPOOL_FAULTS_PART       a part of the faults at requests, such as 2/5
package e2e
