// Package ui shows a run to people and programs: its events as a live view on
// a terminal, as plain lines or as JSON lines, and its error as words and an
// exit code.
//
// It decides nothing: how a run went is Run's error alone. Every text that
// comes from a cluster goes through render.Escape.
package ui
