//go:build pins

// Package main keeps the modules whose files the sandbox reads in go.mod.
package main

import _ "sigs.k8s.io/cluster-api-provider-aws/v2/version"
