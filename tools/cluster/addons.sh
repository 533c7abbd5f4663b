# addons.sh: what runs on top of Kubernetes: DNS, the CRDs of the routes, the gateway, Prometheus.
# shellcheck shell=bash

apply() { # apply MANIFEST...: server-side, so that applying again changes nothing
  local file
  for file in "$@"; do
    render "$here/manifests/$file"
    echo ---
  done | kubectl apply --server-side --validate=false --force-conflicts -f - >>"$STATE/log/apply.log" 2>&1 || die "could not apply $*; see $STATE/log/apply.log"
}

crds() { # 4 MB of them: once is enough
  [ ! -e "$STATE/crds-applied" ] || return 0
  kubectl apply --server-side --validate=false -f "$istio/gateway-api-crds" -f "$istio/istio-crds.yaml" >>"$STATE/log/apply.log" 2>&1 || die "could not apply the CRDs; see $STATE/log/apply.log"
  kubectl wait --for=condition=Established --timeout=30s crd/gateways.gateway.networking.k8s.io crd/httproutes.gateway.networking.k8s.io >/dev/null
  touch "$STATE/crds-applied"
}

gateway_programmed() { kubectl -n istio-system wait --for=condition=Programmed --timeout=1s gateway/gw; }
deployment_available() { kubectl -n "$1" wait --for=condition=Available --timeout=1s "deployment/$2"; }
