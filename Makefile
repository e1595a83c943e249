# nodepool: what can be made here. "make help" lists it.

SHELL   := bash
.SHELLFLAGS := -euo pipefail -c
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
SOURCES := $(shell git ls-files -co --exclude-standard '*.go' go.mod go.sum 2>/dev/null | grep -v -e '^sandbox/' -e '^bench/')
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 30s

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z0-9-]*:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: bin/nodepool ## Build bin/nodepool

bin/nodepool: $(SOURCES)
	CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o $@ ./cmd/nodepool

.PHONY: sandbox
sandbox: ## Build bin/sandbox, the embedded management cluster (about 8 minutes the first time)
	@$(MAKE) --no-print-directory -C sandbox

.PHONY: demo
demo: build sandbox ## Run the main job, plan and apply, on an embedded management cluster
	@e2e/demo.sh

.PHONY: test
test: build sandbox unit sandbox-test e2e ## Run all tests: formatting, unit, sandbox and end to end

.PHONY: unit
unit: ## Run go vet and the unit tests; with the race detector where there are goroutines
	@unformatted=$$(git ls-files '*.go' | xargs gofmt -l); if [ -n "$$unformatted" ]; then echo "run gofmt on:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags e2e,faults ./e2e
	$(GO) test -race -timeout 30m -shuffle=on ./apply/... ./cmd/...
	$(GO) test -timeout 30m -run 'TestInterleavings|TestReductionLosesNothing|CrashPoint' ./apply
	$(GO) test -timeout 30m -shuffle=on . ./examples/... ./plan/... ./schema/...

.PHONY: sandbox-test
sandbox-test: ## Run the sandbox module's own tests
	@$(MAKE) --no-print-directory -C sandbox test

.PHONY: e2e
e2e: build sandbox ## Run the built binaries against a sandbox
	$(GO) test -tags e2e -count=1 -timeout 45m ./e2e

.PHONY: faults
faults: build sandbox ## Run every fault at every request of an apply (an hour at most); tables in bin/faults
	@mkdir -p bin/faults
	NODEPOOL_FAULTS_REPORT=$(CURDIR)/bin/faults $(GO) test -tags e2e,faults -count=1 -timeout 100m -parallel 10 -run '^TestFaults' -v ./e2e

.PHONY: matrix
matrix: build sandbox ## Hold every verdict on versions against the controllers; UPDATE=1 writes docs/preflight-matrix.md
	NODEPOOL_E2E_MATRIX=all $(GO) test -tags e2e -count=1 -timeout 60m -run '^TestMatrix$$' -v ./e2e $(if $(UPDATE),-update)

.PHONY: lint
lint: ## Run the linters of .golangci.yml (downloads and builds golangci-lint)
	$(GO) run $(GOLANGCI) run ./...

.PHONY: fmt
fmt: ## Format the Go files
	@git ls-files '*.go' | xargs gofmt -w

.PHONY: golden
golden: ## Write the golden files anew; look at the diff before you commit it
	$(GO) test $$(git grep -l 'flag.Bool("update"' -- '*_test.go' ':!e2e' | xargs -n1 dirname | sort -u | sed 's|^|./|') -update
	$(GO) generate ./schema/jsonschema

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME (30s)
	@for pkg in $$($(GO) list ./...); do \
		for name in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: bench
bench: build sandbox ## Measure side by side with kubectl on a sandbox (20 minutes at most); writes docs/benchmarks.md
	cd bench && $(GO) run .

.PHONY: bench-go
bench-go: ## Run the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./plan/... ./schema/... ./apply/...

.PHONY: bench-compare
bench-compare: ## Compare this checkout with the commit BASE by benchstat
	@git rev-parse --verify --quiet "$(BASE)^{commit}" >/dev/null || { echo "which commit? make bench-compare BASE=main"; exit 1; }
	@$(MAKE) --no-print-directory build sandbox
	@bench/compare.sh "$(BASE)"

.PHONY: cover
cover: ## Show how much of each package the unit tests run
	$(GO) test -cover ./...

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin
