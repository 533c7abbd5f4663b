#!/usr/bin/env bash
# bench.sh [ROLLBACKS]: how soon the last answer of a bad version comes after the route write, on the whole cluster under
# constant load, and whether a request is lost. The same version is taken back again and again (30 times by default).
# Progress is shown; the last line is one JSON object, with null for what is not measured here (`make bench` does).
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
for part in lib release environment; do source "$here/$part.sh"; done

rollbacks=${1:-30}
rate=${HALDANE_DEMO_RATE:-80}
work=$root/target/bench-cluster
mkdir -p "$work"

finish() {
  local code=$?
  trap - EXIT
  load_stop
  [ $code -eq 0 ] || [ -z "${KUBECONFIG:-}" ] || scene
  [ -n "${HALDANE_DEMO_KUBECONFIG:-}" ] || "$root/tools/cluster/down.sh" | quote
  [ $code -ne 0 ] || cat "$work/figures.json"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

plan() { # the Release of version $1: half of the traffic, convicted by the first scrapes that show it
  sed "s/@VERSION@/$1/g" "$here/manifests/release.yaml" |
    jq_yaml '.spec.plan.steps = [{"pods": 2, "weight": 50, "for": "10m"}, {"weight": 100}]
             | .spec.checks.errorRate = {"max": "5%", "for": "1s"} | del(.spec.checks.smoke, .spec.checks.health, .spec.notify)'
}
jq_yaml() { kubectl create --dry-run=client -o json -f - | jq "$1"; }

again() { # a person's order to try the rejected version once more
  shop get release checkout -o json | jq --arg by "$(kubectl auth whoami -o jsonpath='{.status.userInfo.username}')" '{
    apiVersion: "haldane.dev/v1alpha1", kind: "ReleaseAction", metadata: {generateName: "again-", namespace: "shop"},
    spec: {release: "checkout", releaseUid: .metadata.uid, revision: .status.rejected[-1].revision, type: "Retry", by: $by}
  }' | kubectl create -f - >/dev/null
}

now='{}'
look() { now=$(shop get release checkout -o json); }
at_rest() { look && [ "$(status .status.phase)" = RolledBack ] && [ "$(report .writtenAt)" != "$written" ]; }
beyond_rest() { look && case $(status .status.phase) in Stepping | Draining | Reverting) ;; *) false ;; esac }
millis() { awk -v a="$(date -d "$1" +%s.%N)" -v b="$(date -d "$2" +%s.%N)" 'BEGIN {printf "%.0f", (b - a) * 1000}'; }

stage

chapter "$rollbacks rollbacks of v3 under $rate requests a second"
load_start "$work/load.json"
more_load 100
written='' waits=()
plan v3 | kubectl apply -f - | quote
for n in $(seq "$rollbacks"); do
  [ "$n" = 1 ] || again
  until_ 90 beyond_rest || die "v3 was not tried"
  until_ 120 at_rest || die "v3 was not taken back: $(status .status.message)"
  written=$(report .writtenAt)
  wait=$(millis "$written" "$(loaded -r .versions.v3.last)")
  waits+=("$wait")
  say "$(printf '%3d  decided → written %3d ms   written → last answer %4d ms   others failed %d   load %s' "$n" \
    "$(millis "$(report .decidedAt)" "$written")" "$wait" "$(loaded '[.failures[] | select(.version != "v3")] | length')" \
    "$(cut -d' ' -f1-3 /proc/loadavg)")"
done
load_stop
lost=$(loaded '[.failures[] | select(.version != "v3")] | length')
say "requests: $(loaded -r '"\(.sent) sent, P99 \(.p99Millis) ms"'); answered by v3 with an error: $(loaded '[.failures[] | select(.version == "v3")] | length'); others failed: $lost"
printf '%s\n' "${waits[@]}" | sort -n | jq -cs --argjson lost "$lost" '{
  decide_to_write_ms: {median: null, p99: null}, order_to_write_ms: {median: null, p99: null},
  write_to_last_canary_ms: {median: .[(length - 1) / 2 | floor], max: .[-1]},
  kill_to_write_s: {restart: null, standby: null}, pods_started_per_replica: null, idle_writes_per_min: null,
  writes_per_rollback: null, api_calls_per_release_min: {idle: null, active: null}, rss_mib: {"1": null, "200": null},
  cpu_percent: {"1": null, "200": null}, failed_requests: $lost, rollbacks: length,
  crash_points: null, stale_plans: null, seeded_caught: null, seeded: null
}' >"$work/figures.json"
figures=${CARGO_TARGET_DIR:-$root/target}/figures # make bench takes them from there
mkdir -p "$figures"
jq '{write_to_last_canary_ms, failed_requests}' "$work/figures.json" >"$figures/cluster.json"
