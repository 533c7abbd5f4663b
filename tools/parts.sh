#!/usr/bin/env bash
# parts.sh TARGET...: make each target, tell when it starts and how long it took, and stop at the first that fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n=== %s  %s\n' "$(date +%T)" "$*"; }

times=()
report() {
  local code=$?
  printf '\n=== %s  how long each part took, the slowest first\n' "$(date +%T)"
  printf '%s\n' "${times[@]}" | sort -rn | awk '{printf "%5d s  %s\n", $1, $2}'
  printf '%5d s  in all\n' "$SECONDS"
  exit "$code"
}
trap report EXIT

n=0
for part in "$@"; do
  n=$((n + 1)) start=$SECONDS
  say "part $n of $#: $part"
  make --no-print-directory "$part" </dev/null || {
    code=$?
    times+=("$((SECONDS - start)) $part(failed)")
    say "$part failed"
    exit "$code"
  }
  times+=("$((SECONDS - start)) $part")
  say "$part took $((SECONDS - start)) s"
done
