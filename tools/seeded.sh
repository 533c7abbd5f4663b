#!/usr/bin/env bash
# seeded.sh [--applies] [NAME…]: puts each fault of tests/seeded into a copy of the tree and runs the checks that should
# catch it. Prints a table and, last, one line of JSON. Fails when fewer than 95 % are caught, or when a check fails
# without any fault. With --applies it only says whether every patch still applies.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

only_applies=false
if [ "${1:-}" = --applies ]; then only_applies=true && shift; fi
patches=()
if [ $# -gt 0 ]; then
  for name in "$@"; do patches+=("tests/seeded/$(basename "$name" .patch).patch"); done
else
  patches=(tests/seeded/*.patch)
fi

field() { sed -n "s/^$1: //p" "$2"; }

for patch in "${patches[@]}"; do
  git apply -C1 --check "$patch" || { echo "$patch no longer applies: make it anew"; exit 1; } >&2
  for part in Fault Like Caught-by; do
    [ -n "$(field "$part" "$patch")" ] || { echo "$patch has no line '$part:'"; exit 1; } >&2
  done
done
if $only_applies; then
  echo "all ${#patches[@]} seeded faults apply"
  exit 0
fi

# A copy with a target folder of its own: cargo takes what it has built of one copy of a package for the other's.
cache=${HALDANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/haldane}/seeded
tree=$cache/tree
export CARGO_TARGET_DIR=$cache/target RUST_BACKTRACE=0
gently=${SEEDED_GENTLY-nice} # others may be at work on this machine
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z | xargs -0 cp --parents -t "$tree" # with new times: what was built last had a fault in it
git -C "$tree" init -q # so that git apply works on this tree and not on the one around it
log=$cache/log

# run CHECK: 0 when it passes, 1 when a test fails, 2 when it does not build or does not end as a test does.
run() {
  local check=$1
  # shellcheck disable=SC2086 # the words of a check are cargo's arguments
  (cd "$tree" && $gently cargo test --locked ${check%%::*} --no-run) >"$log" 2>&1 </dev/null || return 2
  # shellcheck disable=SC2086
  (cd "$tree" && timeout 1200 $gently cargo test --locked $check) >>"$log" 2>&1 </dev/null && return 0
  grep -q '^test result: FAILED' "$log" && return 1
  return 2
}

# What cargo builds for a check: its words without the filter.
declare -A sound=()
rows=() caught=0 n=0
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch) by="" n=$((n + 1)) start=$SECONDS
  while IFS= read -r check; do
    if [ -z "${sound[$check]:-}" ]; then
      code=0 && run "$check" || code=$?
      [ "$code" = 0 ] || { echo "without any fault '$check' fails:" && tail -40 "$log"; exit 1; } >&2
      grep -q '^test .* \.\.\. ok' "$log" || { echo "'$check' runs no test"; exit 1; } >&2
      sound[$check]=yes
    fi
  done < <(field Caught-by "$patch")
  git -C "$tree" apply -C1 "$PWD/$patch"
  while IFS= read -r check; do
    code=0 && run "$check" || code=$?
    if [ "$code" = 2 ]; then by="not a test failure of '$check': $(grep -m1 '^error' "$log" || tail -1 "$log")"; fi
    if [ "$code" = 1 ]; then
      by=$(sed -n 's/^test \(.*\) \.\.\. FAILED/\1/p' "$log" | head -1)
      caught=$((caught + 1))
      rows+=("$name|caught|$by")
      break
    fi
  done < <(field Caught-by "$patch")
  [ "${rows[-1]:-}" = "$name|caught|$by" ] || rows+=("$name|NOT CAUGHT|$by")
  git -C "$tree" apply -C1 -R "$PWD/$patch"
  echo "$(date +%T) $n of ${#patches[@]}, $((SECONDS - start)) s: ${rows[-1]//|/  }"
done

printf '\n%s\n' "${rows[@]}" | column -t -s '|'
figures=$(printf '{"seeded": %d, "seeded_caught": %d}' "${#patches[@]}" "$caught")
if [ $# = 0 ]; then # make bench takes them from there
  mkdir -p target/figures
  echo "$figures" >target/figures/seeded.json
fi
echo "$figures"
[ $((caught * 100)) -ge $((${#patches[@]} * 95)) ]
