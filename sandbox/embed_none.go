//go:build !sandbox_manifests

package main

var manifestBundle []byte
