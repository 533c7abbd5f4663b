# processes.sh: how each part of the cluster is started. Everything listens on the bridge, nothing on the host's addresses.
# shellcheck shell=bash

write_configuration() {
  local name
  for name in containerd.toml kubelet.yaml proxy.yaml Corefile mesh.yaml resolv.conf; do
    render "$here/config/$name" >"$CONF/$name"
  done
  render "$here/config/cni.conflist" >"$CONF/cni/10-haldane.conflist"
}

make_cgroup() { # the folder all pods live below, in each hierarchy of version 1 or in the one of version 2
  local root controller
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    for controller in $(</sys/fs/cgroup/cgroup.controllers); do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true # what cannot be had, the kubelet names
    done
    mkdir -p "/sys/fs/cgroup/$CGROUP"
    return
  fi
  for root in /sys/fs/cgroup/*/; do
    [ ! -e "$root/cgroup.procs" ] || mkdir -p "$root/$CGROUP"
  done
}

start_containerd() { start containerd containerd --config "$CONF/containerd.toml"; }

start_etcd() {
  start etcd "$bin/etcd" --name haldane --data-dir "$STATE/etcd" --log-level warn \
    --listen-client-urls "$ETCD" --advertise-client-urls "$ETCD" \
    --listen-peer-urls "$ETCD_PEER" --initial-advertise-peer-urls "$ETCD_PEER" --initial-cluster "haldane=$ETCD_PEER" \
    --client-cert-auth --trusted-ca-file "$PKI/ca.crt" --cert-file "$PKI/etcd.crt" --key-file "$PKI/etcd.key" \
    --peer-client-cert-auth --peer-trusted-ca-file "$PKI/ca.crt" --peer-cert-file "$PKI/etcd.crt" --peer-key-file "$PKI/etcd.key"
}

start_apiserver() {
  start kube-apiserver "$bin/kube-apiserver" --bind-address "$NODE_IP" --advertise-address "$NODE_IP" --secure-port 6443 \
    --etcd-servers "$ETCD" --etcd-cafile "$PKI/ca.crt" --etcd-certfile "$PKI/etcd-client.crt" --etcd-keyfile "$PKI/etcd-client.key" \
    --service-cluster-ip-range "$SERVICE_CIDR" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --client-ca-file "$PKI/ca.crt" --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
    --kubelet-certificate-authority "$PKI/ca.crt" --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$PKI/service-accounts.key" --service-account-signing-key-file "$PKI/service-accounts.key"
}

start_controllers() {
  local identity
  identity=$CONF/controller-manager.kubeconfig
  start kube-controller-manager "$bin/kube-controller-manager" --bind-address "$NODE_IP" --leader-elect=false \
    --kubeconfig "$identity" --authentication-kubeconfig "$identity" --authorization-kubeconfig "$identity" \
    --use-service-account-credentials --service-account-private-key-file "$PKI/service-accounts.key" --root-ca-file "$PKI/ca.crt" \
    --cluster-signing-cert-file "$PKI/ca.crt" --cluster-signing-key-file "$PKI/ca.key" --client-ca-file "$PKI/ca.crt" \
    --tls-cert-file "$PKI/controller-manager.crt" --tls-private-key-file "$PKI/controller-manager.key"
  identity=$CONF/scheduler.kubeconfig
  start kube-scheduler "$bin/kube-scheduler" --bind-address "$NODE_IP" --leader-elect=false \
    --kubeconfig "$identity" --authentication-kubeconfig "$identity" --authorization-kubeconfig "$identity" \
    --client-ca-file "$PKI/ca.crt" --tls-cert-file "$PKI/scheduler.crt" --tls-private-key-file "$PKI/scheduler.key"
}

start_node() {
  start kubelet "$bin/kubelet" --config "$CONF/kubelet.yaml" --kubeconfig "$CONF/kubelet.kubeconfig" \
    --root-dir "$STATE/kubelet" --cert-dir "$PKI" --hostname-override "$NODE" --node-ip "$NODE_IP"
  start kube-proxy "$bin/kube-proxy" --config "$CONF/proxy.yaml"
}

start_dns() { start coredns "$dns/coredns" -conf "$CONF/Corefile"; }

start_targets() { start targets "$here/targets.sh"; }

start_istiod() {
  # No sidecars here: what only they understand is switched off, and the gateway's Deployment is ours.
  # A fixed POD_NAME lets a restarted istiod take its own lease again at once.
  start istiod env POD_NAME=istiod POD_NAMESPACE=istio-system \
    PILOT_ENABLE_METADATA_EXCHANGE=false PILOT_DISABLE_MX_ALPN=true PILOT_ENABLE_ALPN_FILTER=false PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER=false \
    "$istio/pilot-discovery" discovery --kubeconfig "$CONF/istiod.kubeconfig" --meshConfig "$CONF/mesh.yaml" --log_output_level default:warn \
    --grpcAddr "$NODE_IP:15010" --secureGRPCAddr "" --httpsAddr "" --httpAddr "$NODE_IP:15080" --monitoringAddr "$NODE_IP:15014" --ctrlz_port 0
}
