# network.sh: the kernel's settings and the bridge that pods, the node and the host share.
# shellcheck shell=bash

sysctl_set() { # sysctl_set NAME VALUE: the value it had is kept once, for restore_sysctls
  local file=/proc/sys/${1//.//}
  [ -e "$file" ] || die "the kernel has no setting $1; load the module that brings it"
  grep -qs "^$1=" "$STATE/sysctls" || echo "$1=$(<"$file")" >>"$STATE/sysctls"
  [ "$(<"$file")" = "$2" ] || echo "$2" >"$file"
}

restore_sysctls() {
  local name value
  [ -f "$STATE/sysctls" ] || return 0
  while IFS='=' read -r name value; do
    [ "$(<"/proc/sys/${name//.//}")" = "$value" ] || echo "$value" >"/proc/sys/${name//.//}"
  done <"$STATE/sysctls"
  rm "$STATE/sysctls"
}

network_up() {
  [ -e /proc/sys/net/bridge ] || modprobe br_netfilter
  sysctl_set net.ipv4.ip_forward 1
  sysctl_set net.bridge.bridge-nf-call-iptables 1 # answers between pods of one bridge must pass connection tracking
  sysctl_set vm.overcommit_memory 1               # these three are what the kubelet would set by itself
  sysctl_set kernel.panic 10
  sysctl_set kernel.panic_on_oops 1
  sysctl_set fs.inotify.max_user_instances 1024
  sysctl_set fs.inotify.max_user_watches 524288

  ip link show "$BRIDGE" >/dev/null 2>&1 || ip link add "$BRIDGE" type bridge
  ip addr replace "$NODE_IP/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
  ip route replace "$SERVICE_CIDR" dev "$BRIDGE" src "$NODE_IP" # from the host, service addresses never take the default route
  nft -f <(render "$here/config/firewall.nft")
}

network_down() {
  local port table
  if owned bridge "$BRIDGE" && ip link show "$BRIDGE" >/dev/null 2>&1; then
    for port in $(ip -o link show master "$BRIDGE" 2>/dev/null | awk -F': ' '{sub(/@.*/, "", $2); print $2}'); do
      ip link del "$port" 2>/dev/null || true # it may have gone with its pod
    done
    ip link del "$BRIDGE" 2>/dev/null || true
  fi
  for table in "ip haldane-cluster" "ip kube-proxy" "ip6 kube-proxy"; do
    owned table "$table" || continue
    # shellcheck disable=SC2086 # family and name are two words
    nft delete table $table 2>/dev/null || true
  done
  restore_sysctls
}
