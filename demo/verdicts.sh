#!/usr/bin/env bash
# verdicts.sh [WORLD...]: bad versions of every kind, and troubles that are no version's fault, on the whole cluster under
# constant load with the checks' defaults. Takes about 20 minutes; shows its progress; the last line is one JSON object.
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
for part in lib release environment; do source "$here/$part.sh"; done

all=(fails-5 fails-20 fails-100 slow hangs crashes one-pod dependency)
worlds=("$@")
[ $# -gt 0 ] || worlds=("${all[@]}")
rate=${HALDANE_DEMO_RATE:-80} connections=100 # who hangs must not keep the others waiting
work=$root/target/verdicts
mkdir -p "$work"

finish() {
  local code=$?
  trap - EXIT
  load_stop
  [ $code -eq 0 ] || [ -z "${KUBECONFIG:-}" ] || scene
  [ -n "${HALDANE_DEMO_KUBECONFIG:-}" ] || "$root/tools/cluster/down.sh" | quote
  [ ! -s "$work/figures" ] || jq -cs 'from_entries' "$work/figures"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

settings() { # settings WORLD: what its image has, how long its first step lasts, and how it should end
  case $1 in
    fails-5) echo "20s RolledBack ERROR_RATE=0.05" ;;
    fails-20) echo "20s RolledBack ERROR_RATE=0.2" ;;
    fails-100) echo "20s RolledBack ERROR_RATE=1" ;;
    slow) echo "60s RolledBack DELAY_MS=3000 SLOW_SHARE=0.05" ;;
    hangs) echo "120s RolledBack HANG_AFTER=30s" ;;
    crashes) echo "120s RolledBack CRASH_AFTER=60s" ;;
    one-pod) echo "60s Succeeded" ;;
    dependency) echo "60s Succeeded" ;;
    *) die "unknown world '$1'; known are ${all[*]}" ;;
  esac
}

apply() { # apply WORLD LENGTH: the Release of its image, with the defaults of all checks
  sed "s/@VERSION@/$1/g" "$here/manifests/release.yaml" | kubectl create --dry-run=client -o json -f - |
    jq --arg length "$2" '.spec.plan = {steps: [{pods: 2, weight: 20, for: $length}, {weight: 100}], watch: {for: "10s"}, deadline: "2m"}
      | .spec.checks = {provider: "prometheus"} | del(.spec.notify)' | kubectl apply -f - | quote
}

fault() { # fault SHARE POD...: from now on these pods fail so often
  local share=$1 pod
  shift
  for pod in "$@"; do kubectl get --raw "/api/v1/namespaces/shop/pods/$pod:8080/proxy/fault?errors=$share" >/dev/null; done
}
running() { shop get pods -l app=checkout -o json | jq -r --arg image "${1:-}" '.items[] | select(.metadata.deletionTimestamp == null and
  ($image == "" or .spec.containers[0].image == "haldane.local/demo:" + $image)) | .metadata.name'; }
settled() { shop get release checkout -o json | jq -e --arg world "$1" '.status.version == $world and .status.state.stepping.settled != null' >/dev/null; }

trouble() { # trouble WORLD: what happens beside the release
  case $1 in
    one-pod)
      until_ 90 settled "$1"
      fault 0.3 "$(running "$1" | head -n 1)" ;;
    dependency) # both versions fail for three minutes
      until_ 90 settled "$1"
      fault 0.3 $(running)
      sleep 180
      fault 0 $(running) ;;
  esac
}

stage
: >"$work/figures"
for world in "${worlds[@]}"; do
  read -r length should values <<<"$(settings "$world")"
  chapter "$world${values:+: }$values"
  "$here/images.sh" "$work" "$world" $values
  image_load "$work/$world.tar" >/dev/null
  load_start "$work/$world.json"
  more_load 1000 # so that the version that serves is known
  apply "$world" "$length"
  trouble "$world" &
  follow "$world" 600 && ended=$(status .status.result.outcome) || ended="not ended"
  wait $! || die "the trouble of $world could not be made"
  more_load 150
  load_stop
  first=$(loaded -r --arg v "$world" '.versions[$v].first // ""')
  decided=$(report .decidedAt)
  [ "$ended" = RolledBack ] && seconds=$(between "$first" "$decided") || seconds=''
  failed=$(loaded .failed)
  say "${bold}$ended$plain ${seconds:+$seconds after its first answer; }$failed of $(loaded .sent) requests failed: $(status .status.message)"
  jq -nc --arg world "$world" --arg ended "$ended" --arg seconds "${seconds% s}" --argjson failed "$failed" --arg message "$(status .status.message)" \
    '{key: $world, value: {ended: $ended, seconds_to_verdict: ($seconds | tonumber? // null), failed: $failed, message: $message}}' >>"$work/figures"
  promise "$world: $should" [ "$ended" = "$should" ]
done
chapter "Summary"
for line in "${summary[@]}"; do say "$line"; done
[ $broken -eq 0 ]
