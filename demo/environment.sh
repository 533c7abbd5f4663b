# environment.sh: the cluster the demo runs on: its own, or one the user has already. Sourced, never run.
# shellcheck shell=bash
#
# With HALDANE_DEMO_KUBECONFIG the demo uses that cluster. It then needs to know:
#   HALDANE_DEMO_LOAD        the command that brings an image archive into the cluster; the file's name is appended,
#                            for example: kind load image-archive, minikube image load, ctr -n k8s.io images import
#   HALDANE_DEMO_URL         where this machine reaches the gateway, for example http://127.0.0.1:8080/
#   HALDANE_DEMO_GATEWAY     the Gateway's namespace/name (default istio-system/gw)
#   HALDANE_DEMO_PROMETHEUS  a Prometheus, as seen from inside the cluster (default http://prometheus.monitoring:9090),
#                            that scrapes annotated pods every second and labels series with namespace and pod

cluster() {
  gateway=${HALDANE_DEMO_GATEWAY:-istio-system/gw}
  prometheus=${HALDANE_DEMO_PROMETHEUS:-http://prometheus.monitoring:9090}
  if [ -n "${HALDANE_DEMO_KUBECONFIG:-}" ]; then
    export KUBECONFIG=$HALDANE_DEMO_KUBECONFIG
    [ -n "${HALDANE_DEMO_LOAD:-}" ] || die "HALDANE_DEMO_LOAD must say how images get into the cluster of HALDANE_DEMO_KUBECONFIG, for example 'kind load image-archive'"
    url=${HALDANE_DEMO_URL:?"must say where this machine reaches the gateway of that cluster, for example http://127.0.0.1:8080/"}
    image_load() { $HALDANE_DEMO_LOAD "$1"; }
    return
  fi
  "$root/tools/cluster/up.sh" | quote
  state=${HALDANE_CLUSTER_STATE:-/run/haldane-cluster}
  export KUBECONFIG=$state/kubeconfig
  url=http://$(kubectl -n istio-system get service gw -o jsonpath='{.spec.clusterIP}'):8080/
  image_load() { ctr --address "$state/containerd/c.sock" --namespace k8s.io images import "$1"; }
}

stage() { # everything that a measurement needs, from nothing to a shop with the operator
  chapter "Tools and images"
  [ -n "${HALDANE_DEMO_KUBECONFIG:-}" ] || "$root/tools/packages.sh"
  local tools
  tools=$("$root/tools/build.sh" kubernetes helm)
  PATH=${tools//$'\n'/:}:$PATH
  "$here/images.sh" "$work"
  mkdir -p "$root/target/image"
  "$root/tools/operator-image.sh" "$root/target/image/haldane.tar" 2>&1 | now_and_then | quote
  chapter "A cluster"
  cluster
  install
}

install() { # the images, the operator, the shop
  local archive
  for archive in "$work"/{v1,v2,v3}.tar "$root/target/image/haldane.tar"; do image_load "$archive" >/dev/null; done
  say "images loaded"
  shop delete release checkout --ignore-not-found --timeout=60s >/dev/null 2>&1 || true # left by an earlier run
  kubectl delete namespace shop --ignore-not-found --timeout=60s >/dev/null
  local installed=''
  ! helm status haldane --namespace haldane-system >/dev/null 2>&1 || installed=yes
  helm upgrade --install haldane "$root/charts/haldane" --namespace haldane-system --create-namespace \
    --set image.repository=haldane.local/haldane --set image.tag=dev --wait --timeout 90s >"$work/helm.log" 2>&1 || {
    quote <"$work/helm.log"
    die "helm could not install the operator"
  }
  [ -z "$installed" ] || kubectl -n haldane-system rollout restart deployment/haldane >/dev/null # an image of the same name may be a newer one
  kubectl -n haldane-system rollout status deployment/haldane --timeout=90s >/dev/null
  kubectl -n haldane-system get pods -o wide | quote
  sed "s,@PROMETHEUS@,$prometheus,g" "$here/manifests/providers.yaml" | kubectl apply -f - >/dev/null
  sed "s,@GATEWAY_NAMESPACE@,${gateway%/*},g; s,@GATEWAY_NAME@,${gateway#*/},g" "$here/manifests/shop.yaml" | kubectl apply -f - >/dev/null
  shop wait --for=condition=Available deployment --all --timeout=90s >/dev/null
  until_ 30 answers_with v1 || die "the shop does not answer at $url"
  say "the shop answers through the gateway: $(curl -s -m 5 -H 'Host: shop.example' "$url")"
}

answers_with() { curl -s -m 5 -H "Host: shop.example" "$url" | grep -q "version=$1 "; }

scene() { # everything that helps to understand a failure
  {
    shop get release checkout -o yaml
    shop get all,httproutes,endpointslices -o wide
    shop get httproute checkout -o yaml
    kubectl get events -A --sort-by=.lastTimestamp | tail -60
    kubectl -n haldane-system logs -l app.kubernetes.io/name=haldane --prefix --tail=400
  } >"$work/scene.log" 2>&1 || true
  say "the scene of the failure is kept in $work/scene.log"
}
