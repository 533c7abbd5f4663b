# pki.sh: one CA for the life of the cluster, a certificate per part, a kubeconfig for those that talk to the API.
# shellcheck shell=bash

certificate() { # certificate NAME COMMON-NAME [ORGANISATION [ALT-NAMES]]
  [ ! -s "$PKI/$1.crt" ] || return 0
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "${3:+/O=$3}/CN=$2" -keyout "$PKI/$1.key" 2>/dev/null |
    openssl x509 -req -days 365 -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -out "$PKI/$1.new" -extfile <(
      echo keyUsage=critical,digitalSignature
      echo extendedKeyUsage=serverAuth,clientAuth
      [ -z "${4:-}" ] || echo "subjectAltName=$4"
    ) 2>/dev/null
  mv "$PKI/$1.new" "$PKI/$1.crt" # whole or absent: a crash leaves no half certificate
}

kubeconfig() { # kubeconfig FILE CERTIFICATE
  USER_CERT=$(base64 -w0 "$PKI/$2.crt") USER_KEY=$(base64 -w0 "$PKI/$2.key") CA_CERT=$(base64 -w0 "$PKI/ca.crt") \
    render "$here/config/kubeconfig.yaml" >"$1.new"
  chmod 600 "$1.new"
  mv "$1.new" "$1"
}

pki() {
  local name
  umask 077
  if [ ! -s "$PKI/ca.crt" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=haldane-cluster -keyout "$PKI/ca.key" -out "$PKI/ca.new" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null
    mv "$PKI/ca.new" "$PKI/ca.crt"
  fi
  [ -s "$PKI/service-accounts.key" ] || openssl genrsa -out "$PKI/service-accounts.key" 2048 2>/dev/null
  certificate etcd etcd "" "IP:$NODE_IP"
  certificate etcd-client kube-apiserver
  certificate apiserver kube-apiserver "" "IP:$NODE_IP,IP:$API_IP,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate apiserver-kubelet kube-apiserver system:masters
  certificate admin admin system:masters
  certificate controller-manager system:kube-controller-manager "" "IP:$NODE_IP"
  certificate scheduler system:kube-scheduler "" "IP:$NODE_IP"
  certificate kubelet "system:node:$NODE" system:nodes "DNS:$NODE,IP:$NODE_IP"
  certificate proxy system:kube-proxy
  certificate coredns haldane:coredns
  certificate istiod haldane:istiod
  certificate targets haldane:targets
  kubeconfig "$KUBECONFIG" admin
  for name in controller-manager scheduler kubelet proxy coredns istiod; do kubeconfig "$CONF/$name.kubeconfig" "$name"; done
  umask 022
}
