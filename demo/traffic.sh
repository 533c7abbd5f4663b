#!/usr/bin/env bash
# traffic.sh [CYCLES]: promotions, rollbacks, aborts, undos and deletions over every kind of traffic on the whole cluster, side
# by side under constant load, while the operator's pods are deleted again and again. 200 cycles by default, about 20 minutes.
# Progress is shown; the last line is one JSON object.
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
for part in lib release environment; do source "$here/$part.sh"; done

kinds=(httproute held grpcroute virtualservice subsets replicas)
[ -z "${KINDS:-}" ] || read -ra kinds <<<"$KINDS"
cycles=${1:-200}
each=$(((cycles + ${#kinds[@]} - 1) / ${#kinds[@]}))
rate=${HALDANE_DEMO_RATE:-15}
work=$root/target/bench-traffic
rm -rf "$work/figures" "$work/loads"
mkdir -p "$work/figures" "$work/loads"
workers=()

finish() {
  local code=$?
  trap - EXIT
  [ ${#workers[@]} -eq 0 ] || kill "${workers[@]}" 2>/dev/null || true
  for pid in "$work"/loads/*.pid; do [ ! -e "$pid" ] || kill "$(cat "$pid")" 2>/dev/null || true; done
  if [ $code -ne 0 ] && [ -n "${KUBECONFIG:-}" ]; then
    { kubectl get releases,deployments,replicasets,pods,services,httproutes,grpcroutes,virtualservices -A -o wide
      kubectl get releases -A -o yaml
      kubectl -n haldane-system logs -l app.kubernetes.io/name=haldane --prefix --tail=400; } >"$work/scene.log" 2>&1 || true
    say "the scene of the failure is kept in $work/scene.log"
  fi
  [ -n "${HALDANE_DEMO_KUBECONFIG:-}" ] || "$root/tools/cluster/down.sh" | quote
  [ $code -ne 0 ] || cat "$work/figures.json"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

# --- one kind of traffic; all of it is called in a subshell of its own, where $kind is set ----------------------------

k() { kubectl --namespace "$kind" "$@"; }
release_json() { k get release checkout -o json; }
phase() { release_json | jq -r '.status.phase // ""'; }
running() { # running VERSION: the UIDs of its pods that are not on their way out
  k get pods -l app=checkout -o json | jq -r --arg image "haldane.local/demo:$1" \
    '.items[] | select(.metadata.deletionTimestamp == null and .spec.containers[0].image == $image) | .metadata.uid' | sort
}
only() { # only VERSION: two pods, all of this version
  [ "$(running "$1" | wc -l)" = 2 ] && [ "$(k get pods -l app=checkout -o json | jq '[.items[] | select(.metadata.deletionTimestamp == null)] | length')" = 2 ]
}
picture() { # all that is the user's, without the number of the object's version
  {
    k get service checkout -o json | jq -Sc .spec
    k get deployment checkout -o json | jq -Sc '.spec | del(.template.spec.containers[0].image, .paused)'
    case $kind in
      httproute | held) k get httproute checkout -o json | jq -Sc .spec ;;
      grpcroute) k get grpcroute checkout -o json | jq -Sc .spec ;;
      virtualservice) k get virtualservice checkout -o json | jq -Sc .spec ;;
      subsets) k get virtualservice checkout -o json | jq -Sc .spec; k get destinationrule checkout -o json | jq -Sc .spec ;;
    esac
  } >"$work/$kind.$1"
}
release_yaml() { # release_yaml VERSION: the Release that asks for it, or that holds the Deployment
  jq -n --arg kind "$kind" --arg version "$1" '{
    apiVersion: "haldane.dev/v1alpha1", kind: "Release", metadata: {name: "checkout", namespace: $kind},
    spec: ({
      targetRef: {apiVersion: "apps/v1", kind: "Deployment", name: "checkout"},
      plan: {steps: [{pods: 1, weight: 30, for: "3s"}, {weight: 100}], watch: {for: "2s"}, deadline: "90s"},
      checks: {provider: "prometheus", errorRate: {max: "5%", for: "2s"}, minRequests: 5, warmUp: "1s", sequential: {requireProof: false}},
      traffic: ({services: ["checkout"]} + ({
        httproute: {routes: [{name: "checkout"}]}, held: {routes: [{name: "checkout"}]},
        grpcroute: {routes: [{kind: "GRPCRoute", name: "checkout"}]},
        virtualservice: {routes: [{group: "networking.istio.io", kind: "VirtualService", name: "checkout"}]},
        subsets: {routes: [{group: "networking.istio.io", kind: "VirtualService", name: "checkout"}]}
      }[$kind] // {}))
    } + (if $kind == "held" then {} else {images: {app: "haldane.local/demo:\($version)"}} end))
  }'
}
ask() { # ask VERSION
  if [ "$kind" = held ]; then k set image deployment/checkout "app=haldane.local/demo:$1" >/dev/null; else release_yaml "$1" | kubectl apply -f - >/dev/null; fi
}
order() { # order TYPE
  release_json | jq --arg type "$1" --arg by "$(kubectl auth whoami -o jsonpath='{.status.userInfo.username}')" '{
    apiVersion: "haldane.dev/v1alpha1", kind: "ReleaseAction", metadata: {generateName: "bench-", namespace: .metadata.namespace},
    spec: {release: "checkout", releaseUid: .metadata.uid, revision: (.status.candidateRevision // .status.stableRevision), type: $type, by: $by}
  }' | kubectl create -f - >/dev/null
}
stepping() { release_json | jq -e '.status.state.stepping.settled != null' >/dev/null; }
observing() { case $(phase) in Observing | Promoting) ;; *) return 1 ;; esac }
resting() { case $(phase) in Succeeded | Idle | RolledBack) ;; *) return 1 ;; esac }
ended() { resting && only "$1"; }
ready_again() { k get release checkout -o json | jq -e '.status.phase == "Idle" or .status.phase == "Succeeded"' >/dev/null; }
wait_for() { # wait_for SECONDS WHAT COMMAND...
  local seconds=$1 what=$2
  shift 2
  until_ "$seconds" "$@" || { say "${red}$kind, cycle $n: $what did not come: $(release_json | jq -r '"\(.status.phase): \(.status.message)"')$plain"; exit 1; }
}
image() { # image VERSION VALUE...: made and brought into the cluster
  "$here/images.sh" "$work" "$@" && image_load "$work/$1.tar" >/dev/null && rm -f "$work/$1.tar"
}

failures() { # failures KIND: requests that failed, but for the errors that versions answered which were made to
  local file
  for file in "$work/loads/$1.json" "$work/loads/$1-service.json"; do
    [ ! -e "$file" ] || jq -c --arg kind "$1" '.failures[] | select((.code == 500 and (.version | startswith($kind + "-"))) | not)' <"$file"
  done
}
lost() { failures "$1" | wc -l; }

cycle() { # cycle ACTION: from the version $serves to a new one, and back where it is no promotion
  local action=$1 version="$kind-$n" last_answer='' pods_started=null decided=''
  picture before
  case $action in rollback) image "$version" "ERROR_RATE=0.5" ;; *) image "$version" "ERROR_RATE=0" ;; esac
  ask "$version"
  case $action in
    promote)
      wait_for 120 "100 %" observing
      running "$version" >"$work/$kind.proven"
      wait_for 120 "its end" ended "$version"
      pods_started=$(running "$version" | cat - "$work/$kind.proven" | sort -u | wc -l | awk '{print $1 / 2}')
      previous=$serves serves=$version ;;
    rollback)
      wait_for 120 "the rollback" eval '[ "$(phase)" = RolledBack ] && only "$serves"'
      decided=$(release_json | jq -r '.status.state.rolledBack.report.decidedAt')
      last_answer=$(jq -r --arg v "$version" '.versions[$v].last // ""' <"$work/loads/$kind.json") ;;
    abort)
      wait_for 120 "its step" stepping
      order Rollback
      wait_for 120 "the rollback" eval '[ "$(phase)" = RolledBack ] && only "$serves"' ;;
    delete)
      wait_for 120 "its step" stepping
      k delete release checkout --timeout=120s >/dev/null
      wait_for 90 "the old version" only "$serves"
      release_yaml "$serves" | kubectl apply -f - >/dev/null
      wait_for 90 "its rest" ready_again ;;
    undo)
      wait_for 120 "its end" ended "$version"
      order Rollback
      wait_for 120 "the undo" ended "$serves" ;;
  esac
  wait_for 60 "its rest" resting
  picture after
  local changed=0
  [ "$kind" = held ] && [ "$action" != promote ] && k set image deployment/checkout "app=haldane.local/demo:$serves" >/dev/null
  cmp -s "$work/$kind.before" "$work/$kind.after" || changed=$(cmp -l "$work/$kind.before" "$work/$kind.after" 2>/dev/null | wc -l)
  [ "$changed" = 0 ] || diff "$work/$kind.before" "$work/$kind.after" | quote
  local failed
  failed=$(lost "$kind")
  jq -nc --arg kind "$kind" --arg action "$action" --argjson pods "$pods_started" --argjson changed "$changed" \
    --arg decided "$decided" --arg last "$last_answer" '{kind: $kind, action: $action, pods: $pods, changed: $changed, decided: $decided, last: $last}' >>"$work/figures/$kind"
  say "$(printf '%-15s %3d of %d  %-9s foreign bytes changed %d   failed requests %s   load %s' "$kind" "$n" "$each" "$action" "$changed" "$failed" "$(cut -d' ' -f1 /proc/loadavg)")"
}

follow_kind() { # follow_kind: all cycles of $kind
  local actions=(promote rollback abort promote undo delete) serves=v1 previous=''
  for n in $(seq "$each"); do cycle "${actions[$(((n - 1) % ${#actions[@]}))]}"; done
}

manifests() { # all that is in Git
  local manifest=$here/manifests/traffic-$kind.yaml
  [ "$kind" != held ] || manifest=$here/manifests/traffic-httproute.yaml
  [ "$kind" != replicas ] || manifest=/dev/null
  cat "$here/manifests/traffic.yaml" <(echo ---) "$manifest" |
    sed "s,@KIND@,$kind,g; s,@GATEWAY_NAMESPACE@,${gateway%/*},g; s,@GATEWAY_NAME@,${gateway#*/},g"
}
set_up_kind() {
  manifests | kubectl apply -f - >/dev/null
  k wait --for=condition=Available deployment/checkout --timeout=90s >/dev/null
  local service to=$url
  service=http://$(k get service checkout -o jsonpath='{.spec.clusterIP}')/
  [ "$kind" != replicas ] || to=$service
  serves_v1() { curl -s -m 5 -H "Host: $kind.example" "$to" | grep -q 'version=v1 '; }
  until_ 60 serves_v1 || die "$kind does not answer at $to"
  serves_v1_itself() { curl -s -m 5 "$service" | grep -q 'version=v1 '; } # its address is known to the node
  until_ 60 serves_v1_itself || die "$kind does not answer at its Service"
  release_yaml v1 | kubectl apply -f - >/dev/null
  until_ 60 ready_again || die "Release $kind/checkout did not come to rest"
  if [ "$kind" = replicas ]; then
    loads "$kind" "$service" --rate "$rate" --fresh
  else
    loads "$kind" "$url" --rate "$rate"
    loads "$kind-service" "$service" --rate $(((rate + 2) / 3)) --fresh
  fi
  say "$kind answers and is under load"
}
loads() { # loads NAME URL OPTION...: requests until the end
  "$work/demo" load --url "$2" --host "$kind.example" --connections 8 --out "$work/loads/$1.json" "${@:3}" >/dev/null &
  echo $! >"$work/loads/$1.pid"
}

trouble() { # the operator's pods go, one after the other
  while sleep 45; do
    kubectl -n haldane-system get pods -l app.kubernetes.io/name=haldane -o name | shuf -n 1 | xargs -r kubectl -n haldane-system delete --wait=false >/dev/null 2>&1 || true
  done
}

sync_loop() { # a GitOps tool that applies what is in Git every 10 seconds; the image is somebody else's
  while sleep 10; do
    for kind in "${kinds[@]}"; do
      case $kind in
        httproute) manifests | yaml_without Deployment | kubectl apply -f - ;;
        virtualservice | held) manifests | sed '/ image: /d' | kubectl apply --server-side --force-conflicts --field-manager=gitops -f - ;;
      esac >"$work/sync-$kind.log" 2>&1 || true # refused in the middle of a hand-over; the next one comes through
    done
  done
}
yaml_without() { # yaml_without KIND: the documents of other kinds
  awk -v kind="kind: $1" 'BEGIN {RS = "---\n"; ORS = "---\n"} index($0, "\n" kind "\n") == 0'
}

# --- all of them ------------------------------------------------------------------------------------------------------

allowed=$(IFS=,; echo "${kinds[*]}")
stage
sed "s,@PROMETHEUS@,$prometheus,g; s/allowedNamespaces: \[shop\]/allowedNamespaces: [shop,$allowed]/" "$here/manifests/providers.yaml" | kubectl apply -f - >/dev/null
chapter "${#kinds[@]} kinds of traffic"
for kind in "${kinds[@]}"; do set_up_kind; done

chapter "$((each * ${#kinds[@]})) cycles under ${#kinds[@]} × $rate requests a second through the gateway, and a third of it through the Services"
started=$SECONDS
trouble & workers+=($!)
sync_loop & workers+=($!)
followers=()
for kind in "${kinds[@]}"; do
  follow_kind & followers+=($!)
  workers+=($!)
done
code=0
for pid in "${followers[@]}"; do wait "$pid" || code=1; done
[ $code -eq 0 ] || die "not all cycles came to their end"

chapter "What came of it, after $((SECONDS - started)) s"
for pid in "$work"/loads/*.pid; do kill "$(cat "$pid")" 2>/dev/null || true; done
for pid in "$work"/loads/*.pid; do wait "$(cat "$pid")" 2>/dev/null || true; done # each writes its last summary as it ends
total=0
for kind in "${kinds[@]}"; do
  n=$(lost "$kind") total=$((total + n))
  say "$(printf '%-15s %s requests, %s of them failed that a ready version could have answered' "$kind" "$(cat "$work/loads/$kind"{,-service}.json 2>/dev/null | jq -s 'map(.sent) | add')" "$n")"
  [ "$n" = 0 ] || failures "$kind" | head -5 | quote
done
millis() { awk -v a="$(date -d "$1" +%s.%N)" -v b="$(date -d "$2" +%s.%N)" 'BEGIN {d = (b - a) * 1000; printf "%.0f\n", (d > 0 ? d : 0)}'; } # 0: it came before
waits() { # waits KIND…: milliseconds from each decision to the last answer
  local line
  cat "${@/#/$work/figures/}" | jq -r 'select(.action == "rollback" and .last != "") | "\(.decided) \(.last)"' | while read -r line; do millis ${line% *} ${line#* }; done | sort -n
}
of() { jq -cs '{median: .[(length - 1) / 2 | floor], p99: .[(length * 0.99 | ceil) - 1], max: .[-1], times: length}'; }
for kind in "${kinds[@]}"; do say "$(printf '%-15s decided → last answer of the bad version, ms: %s' "$kind" "$(waits "$kind" | of)")"; done
routed=()
for kind in "${kinds[@]}"; do [ "$kind" = replicas ] || routed+=("$kind"); done
cat "$work"/figures/* | jq -cs --argjson failed "$total" --argjson waits "$(waits "${routed[@]}" | of)" '{
  cycles: length, failed_requests: $failed, foreign_bytes_changed: ([.[].changed] | add),
  pods_started_per_replica: ([.[].pods | values] | max), decide_to_last_canary_ms: $waits
}' >"$work/figures.json"
