#!/bin/bash
# Compares this checkout with another commit by benchstat: the Go benchmarks of
# both, and whole runs of both programs on a sandbox. Usage: compare.sh BASE.
# ROUNDS (6) is how often each side is measured; fewer than 6 are too few for
# benchstat to tell a difference from noise.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
rounds=${ROUNDS:-6}
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$1"
(cd "$work/base" && CGO_ENABLED=0 go build -o "$work/nodepool" ./cmd/nodepool)

# By turns, so that what slows the machine down slows both.
for round in $(seq "$rounds"); do
	for side in base head; do
		echo "Go benchmarks, round $round of $rounds, $side" >&2
		from=$root
		[ $side = head ] || from=$work/base
		(cd "$from" && go test -run '^$' -bench . -benchmem -benchtime 100ms ./plan/... ./schema/...) >>"$work/$side.txt"
	done
done
cd bench
go build -o "$work/bench" .
for side in base head head base; do
	program=$root/bin/nodepool
	[ $side = head ] || program=$work/nodepool
	"$work/bench" -parts plan-one -runs "$rounds" -nodepool "$program" -text "$work/some.runs"
	cat "$work/some.runs" >>"$work/$side.runs"
done
go tool benchstat "base=$work/base.txt" "head=$work/head.txt"
go tool benchstat "base=$work/base.runs" "head=$work/head.runs"
