#!/usr/bin/env bash
# fuzz.sh [SECONDS]: run each fuzz target for so long (60). Needs a nightly compiler (rustup toolchain install nightly).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${HALDANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/haldane}
command -v cargo-fuzz >/dev/null || { PATH=$cache/bin:$PATH && command -v cargo-fuzz >/dev/null; } ||
  cargo install --locked --root "$cache" cargo-fuzz@0.13.2
export PATH=$cache/bin:$PATH CARGO_TARGET_DIR=$cache/fuzz-target
for target in recording checks; do
  corpus=$cache/corpus/$target
  mkdir -p "$corpus"
  case $target in
    recording) for n in 1 5 20; do head -n "$n" tests/data/evidence/failing.jsonl >"$corpus/seed-$n"; done ;;
    checks) printf 'errorRate: {max: 5%%, for: 2m}\nsequential: {alpha: 1%%, tolerance: "1.5"}\nmetrics: [{name: a, query: b, mustNotDrop: 20%%}]\n' >"$corpus/seed" ;;
  esac
  echo "fuzzing $target for ${1:-60} s"
  cargo +nightly fuzz run --fuzz-dir fuzz "$target" "$corpus" -- -max_total_time="${1:-60}" -max_len=8192 -print_final_stats=1
done
