#!/usr/bin/env bash
# demo.sh [--test] [--down]: a good version goes out and a bad one comes back, on a real cluster under real load.
#   --test  what CI runs: as usual, and the operator's log follows a failure; the cluster goes down at the end
#   --down  take the cluster down at the end
# Exits with an error if any promise is broken. demo/environment.sh tells how to run it on a cluster of your own.
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
for part in lib release environment; do source "$here/$part.sh"; done

test='' down=''
for option in "$@"; do
  case $option in
    --test) test=yes down=yes ;;
    --down) down=yes ;;
    *) die "unknown option '$option'; known are --test and --down" ;;
  esac
done
rate=${HALDANE_DEMO_RATE:-80} # requests per second, at most 100
work=$root/target/demo
mkdir -p "$work"

finish() {
  local code=$?
  trap - EXIT
  load_stop
  if [ $code -ne 0 ]; then
    [ -z "${KUBECONFIG:-}" ] || scene
    [ -z "$test" ] || tail -n 120 "$work/scene.log"
  fi
  if [ -n "$down" ] && [ -z "${HALDANE_DEMO_KUBECONFIG:-}" ]; then
    "$root/tools/cluster/down.sh" | quote
  elif [ -n "${KUBECONFIG:-}" ]; then
    say "the cluster is still up: export KUBECONFIG=$KUBECONFIG; kubectl -n shop get releases   (make cluster-down ends it)"
  fi
  exit $code
}
trap finish EXIT
trap 'printf "%sdemo: line %s of %s failed: %s%s\n" "$red" "$LINENO" "${BASH_SOURCE[0]##*/}" "$BASH_COMMAND" "$plain" >&2' ERR
trap 'exit 130' INT TERM

chapter "Tools and images"
[ -n "${HALDANE_DEMO_KUBECONFIG:-}" ] || "$root/tools/packages.sh"
tools=$("$root/tools/build.sh" kubernetes helm)
PATH=${tools//$'\n'/:}:$PATH
"$here/images.sh" "$work"
say "the shop's three versions: v1, v2, and v3, which fails 40 % of its requests"
mkdir -p "$root/target/image"
"$root/tools/operator-image.sh" "$root/target/image/haldane.tar" 2>&1 | tee "$work/build.log" | now_and_then | quote || {
  tail -n 40 "$work/build.log" | quote
  die "the operator could not be built"
}
say "the operator: $(du -h "$root/target/image/haldane.tar" | cut -f1)B"

chapter "A cluster"
cluster
kubectl get nodes -o wide | quote

chapter "The operator and the shop"
install

chapter "Release v2, which is good"
photograph before
load_start "$work/good.json"
more_load 150
release v2
applied=$SECONDS
follow v2 150 && ended=yes || ended=no
took=$((SECONDS - applied))
more_load 240 # what is left over would show now
load_stop
photograph after
pods v2 >"$work/pods-after"
good="v2 was out in $took s under load: $(loaded -r '"\(.sent) requests, \(.failed) failed, slowest \(.maxMillis) ms"')"
echo "haldane.local/demo:v2" >"$work/before/image"
say "requests: $(loaded -r '"\(.sent) sent, \(.failed) failed, slowest \(.maxMillis) ms"'); answers: $(answers)"
[ "$(loaded .failed)" = 0 ] || loaded -c '.failures[:5][]' | quote
promise "v2 was released" [ "$ended $(status .status.result.outcome)" = "yes Succeeded" ]
promise "no request of $(loaded .sent) failed" [ "$(loaded .failed)" = 0 ]
promise "with the header x-canary: true all requests reached v2 while it had a small share" [ "$header_result" = yes ]
promise "the pods that were watched are the pods that serve now: each was started once ($(wc -l <"$work/pods-after"))" cmp -s "$work/pods-observed" "$work/pods-after"
promise "the HTTPRoute's spec is what it was, byte for byte" same route
promise "the Service's spec is what it was, byte for byte" same service
promise "the Deployment is what it was, but for the image" same deployment
promise "the Deployment has the image of v2" same image
promise "nothing of the operator's is left beside the Service" same services

[ "$ended" = yes ] || die "a release that has not ended hides what a bad one would do: stopped here"

chapter "Release v3, which fails 40 % of its requests"
photograph before
pods v2 >"$work/before/pods"
load_start "$work/bad.json"
more_load 150
release v3
follow v3 120 && ended=yes || ended=no
more_load 240
load_stop
photograph after
pods v2 >"$work/after/pods"
say ""
say "${bold}why$plain  $(status .status.result.message)"
print_report v3
say "requests: $(loaded -r '"\(.sent) sent, \(.failed) failed, slowest \(.maxMillis) ms"'); answers: $(answers)"
bad="v3 was convicted $(between "$(loaded -r '.versions.v3.first // ""')" "$(report .decidedAt)") after its first answer, and gave its last one $(between "$(report .decidedAt)" "$(loaded -r '.versions.v3.last // ""')") later: $(loaded .failed) of $(loaded .sent) requests failed"
say "failed by version: $(loaded -r '[.failures[].version] | group_by(.) | map("\(.[0]) \(length)") | join(", ")')"
others=$(loaded '[.failures[] | select(.version != "v3")] | length')
[ "$others" = 0 ] || loaded -c '[.failures[] | select(.version != "v3")][:5][]' | quote
promise "v3 was rolled back" [ "$ended $(status .status.result.outcome)" = "yes RolledBack" ]
promise "only what v3 itself answered failed: $(loaded .failed) of $(loaded .sent) requests, none of another version and none without an answer" [ "$others" = 0 ]
promise "v3 did get requests, so that there was something to find" [ "$(loaded '.versions.v3.codes // {} | add // 0')" -gt 0 ]
promise "the report tells when it was decided, written and confirmed" [ -n "$(report .decidedAt)" -a -n "$(report .writtenAt)" -a -n "$(report .confirmedAt)" ]
promise "the pods of v2 were never touched ($(wc -l <"$work/after/pods"))" same pods
promise "the HTTPRoute's spec is what it was, byte for byte" same route
promise "the Service's spec is what it was, byte for byte" same service
promise "the Deployment is what it was" same deployment
promise "the Deployment has the image of v2" same image
promise "nothing of the operator's is left beside the Service" same services
told() { shop logs deployment/receiver | grep -q RolledBack; }
promise "the team was told" until_ 15 told

chapter "What was told"
shop get releases | quote
shop logs deployment/receiver | grep '^{' | jq -r '"\(.time // "")  \(.type // "")  \(.data.message // .data // "" | tostring)"' | cut -c1-150 | quote

chapter "Summary"
for line in "${summary[@]}"; do say "$line"; done
say ""
say "$good"
say "$bad"
say ""
if [ $broken -gt 0 ]; then
  say "$red${bold}$broken of ${#summary[@]} promises broken$plain"
  exit 1
fi
say "$green${bold}all ${#summary[@]} promises kept in $(clock)$plain"
