#!/bin/bash
# Compares this checkout with another commit by benchstat: the Go benchmarks of
# both, and whole runs of both programs on a sandbox. Usage: compare.sh BASE
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$1"
(cd "$work/base" && go build -o "$work/nodepool" ./cmd/nodepool)

# By turns, so that what slows the machine down slows both.
for _ in 1 2 3 4 5 6; do
	for side in base head; do
		from=$root
		[ $side = head ] || from=$work/base
		(cd "$from" && go test -run '^$' -bench . -benchmem -benchtime 100ms ./plan/... ./schema/...) >>"$work/$side.txt"
	done
done
cd bench
go build -o "$work/bench" .
"$work/bench" -parts plan-one -nodepool "$work/nodepool" -text "$work/base.runs"
"$work/bench" -parts plan-one -text "$work/head.runs"
go tool benchstat "base=$work/base.txt" "head=$work/head.txt"
go tool benchstat "base=$work/base.runs" "head=$work/head.runs"
