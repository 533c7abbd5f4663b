#!/usr/bin/env bash
# up.sh: a real Kubernetes of one node on this machine, with a gateway and Prometheus.
# Run it again at any time: what runs is left alone, what has died is started, what is half made is finished.
set -Eeuo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'echo "cluster: line $LINENO of $(basename "${BASH_SOURCE[0]}") failed: $BASH_COMMAND" >&2' ERR
for part in claims network pki processes images addons; do source "$here/$part.sh"; done
PATH=$PATH:/usr/sbin:/sbin

[ "$(id -u)" = 0 ] || die "a cluster needs root: it makes a bridge, mounts and cgroups"
mkdir -p "$(dirname "$STATE")"
one_at_a_time
mkdir -p "$STATE"/{run,log,pki,etcd,conf/cni,containerd,kubelet,pods,plugins,prometheus}
chmod 700 "$STATE"/{pki,etcd}
for record in "$STATE"/run/*; do # left by a crash
  [ ! -e "$record" ] || alive "$(basename "$record")" || rm "$record"
done

"$tools/packages.sh"
bin=$("$tools/build.sh" kubernetes)
istio=$("$tools/build.sh" istio)
dns=$("$tools/build.sh" dns)
envoy=$("$tools/build.sh" envoy)
PATH=$bin:$PATH
at "tools and packages are here"

claim_all
network_up
pki
write_configuration
make_cgroup
at "bridge $BRIDGE, $(find "$PKI" -name '*.crt' | wc -l) certificates"

ulimit -n "$(ulimit -Hn)" 2>/dev/null || true # containerd and etcd ask for many files
start_containerd
start_etcd
start_apiserver
wait_for 30 "containerd answers" ctr version
images
at "images imported"
wait_for 60 "API server ready" kubectl get --raw /readyz
start_controllers
start_node
apply dns.yaml istiod.yaml prometheus.yaml # before who needs their permissions: a refused client tries again slowly
start_dns
start_targets
crds
at "CRDs of the routes"
start_istiod
apply gateway.yaml
wait_for 60 "node Ready" kubectl wait --for=condition=Ready --timeout=1s "node/$NODE"
wait_for 30 "DNS ready" curl -sf "http://$NODE_IP:18182/ready"
wait_for 60 "Prometheus ready" deployment_available monitoring prometheus
wait_for 60 "gateway ready" deployment_available istio-system gw
wait_for 60 "gateway programmed" gateway_programmed
at "the cluster is up: export KUBECONFIG=$KUBECONFIG"
