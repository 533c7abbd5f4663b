# claims.sh: what other programs of this machine hold is refused, with a sentence that names the holder.
# shellcheck shell=bash

holder() { # holder PID: how to name a process to a person
  printf 'pid %s (%s)' "$1" "$(tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | cut -c1-80)"
}

is_ours() { # is_ours PID: one of the processes that start() recorded
  local record pid
  for record in "$STATE"/run/*; do
    [ -s "$record" ] || continue
    read -r pid _ <"$record"
    [ "$pid" = "$1" ] && alive "$(basename "$record")" && return
  done
  return 1
}

claim_ports() { # claim_ports PORT...: on the node's address
  local address line pid
  while read -r _ _ _ _ address line; do
    pid=$(grep -o 'pid=[0-9]*' <<<"$line" | head -1 | cut -d= -f2)
    [ -n "$pid" ] || die "$address is held by a process that cannot be seen from here; free it and try again"
    is_ours "$pid" || die "$address is held by $(holder "$pid"); stop it, for the cluster's ports are fixed"
  done < <(ss -Hltnup | awk -v node="$NODE_IP" -v ports=" $* " '{
    host = port = $5; sub(/:[0-9]+$/, "", host); sub(/%.*/, "", host); sub(/.*:/, "", port)
    if (index(ports, " " port " ") && (host == node || host == "*" || host == "0.0.0.0" || host == "[::]")) print }')
}

claim_subnet() { # claim_subnet CIDR SETTING: no other device may route it
  local route
  route=$( (ip -4 route show to root "$1"; ip -4 route show to match "$1") | awk -v ours="$BRIDGE" '$1 != "default" && $0 !~ " dev " ours "( |$)"' | head -1)
  [ -z "$route" ] || die "the subnet $1 is taken by the route '$route'; choose another with $2"
}

claim() { # claim KIND NAME TEST...: refuse what exists already and is not ours
  local kind=$1 name=$2
  shift 2
  owned "$kind $name" && return
  ! "$@" >/dev/null 2>&1 || die "the $kind $name exists and this cluster ($STATE) did not make it; remove it, or set HALDANE_CLUSTER_STATE to the state directory of the cluster that did"
  claims+=("$kind $name")
}

claim_all() {
  local cgroup folder claim claims=()
  [ ${#STATE} -le 60 ] || die "HALDANE_CLUSTER_STATE is longer than 60 characters; sockets below it could not be opened"
  claim_ports 53 2379 2380 6443 10248 10249 10250 10256 10257 10259 15010 15014 15080 18181 18182
  claim_subnet "$POD_CIDR" HALDANE_CLUSTER_NET
  claim_subnet "$SERVICE_CIDR" HALDANE_CLUSTER_SERVICES
  claim bridge "$BRIDGE" ip link show "$BRIDGE"
  claim table "ip haldane-cluster" nft list table ip haldane-cluster
  claim table "ip kube-proxy" nft list table ip kube-proxy
  claim table "ip6 kube-proxy" nft list table ip6 kube-proxy
  cgroup=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$CGROUP" | head -1)
  claim cgroup "$CGROUP" [ -n "$cgroup" ]
  # The kubelet and others write here whatever they are told; a folder that was there before is left alone.
  for folder in /var/lib/kubelet /var/lib/cni /var/log/containers /run/containerd; do
    [ -e "$folder" ] || claims+=("folder $folder")
  done
  for claim in "${claims[@]}"; do own "$claim"; done # only when nothing was refused
}
