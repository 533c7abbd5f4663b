#!/usr/bin/env bash
# down.sh: stop what up.sh started and take away what it made, however far it came; only the logs stay.
set -Eeuo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'echo "cluster: line $LINENO of $(basename "${BASH_SOURCE[0]}") failed: $BASH_COMMAND" >&2' ERR
source "$here/network.sh"
PATH=$PATH:/usr/sbin:/sbin

[ "$(id -u)" = 0 ] || die "a cluster needs root, to take it down too"
[ -d "$STATE/run" ] || { at "no cluster at $STATE"; exit 0; }
one_at_a_time

cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name "$CGROUP"; }

pod_processes() { # whatever runs in our cgroup, and the shims that were told our containerd's socket
  local folder
  if owned cgroup "$CGROUP"; then
    for folder in $(cgroups); do find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null || true; done
  fi
  # The socket's name comes by a pipe: as an argument of grep it would find grep.
  grep -lxzF -f <(echo "$SOCKET") /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3 || true
}

end_pods() { # they outlive containerd, also one that crashed
  local pids tries=0
  while pids=$(pod_processes | sort -un) && [ -n "$pids" ]; do
    [ $((tries += 1)) -lt 100 ] || die "these processes of pods do not end: $(echo $pids)"
    # shellcheck disable=SC2086 # a list of pids
    kill -9 $pids 2>/dev/null || true # some may have ended meanwhile
    sleep 0.1
  done
}

unmount() { # everything below STATE, the deepest first
  local mount
  awk -v below="$STATE/" 'index($5, below) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r mount; do
    umount "$mount" 2>/dev/null || umount -l "$mount"
  done
}

note_traces() { # per container: its shim's socket and the CNI library's notes lie outside STATE, and containerd forgets them
  local folder
  for folder in "$STATE"/containerd/state/*/k8s.io/*; do
    [ ! -s "$folder/address" ] || sed 's,^unix://,,; a\' "$folder/address" # a\ ends the line, which the file does not
    find /var/lib/cni/results -name "*-$(basename "$folder")-*" 2>/dev/null || true
  done >>"$STATE/traces"
  echo >>"$STATE/traces"
}

remove_traces() { # what containerd, the CNI library and the kubelet write outside STATE
  local folder
  xargs -r rm -f <"$STATE/traces"
  [ ! -d /var/log/containers ] || find /var/log/containers -lname "$STATE/*" -delete
  if owned cgroup "$CGROUP"; then
    for folder in $(cgroups); do find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
  fi
  for folder in /var/lib/kubelet /var/lib/cni /var/log/containers /run/containerd; do
    owned folder "$folder" && [ -d "$folder" ] || continue
    rm -f "$folder"/device-plugins/kubelet.sock "$folder"/device-plugins/DEPRECATION
    find "$folder" -depth -type d -empty -delete # a folder in which somebody else put something stays
  done
}

for name in targets istiod coredns kubelet kube-proxy kube-scheduler kube-controller-manager; do stop "$name" & done
wait
note_traces
end_pods
at "pods ended"
for name in containerd kube-apiserver; do stop "$name" & done
wait
end_pods # a container that containerd was just starting
stop etcd
at "processes ended"
unmount
network_down
remove_traces
find "$STATE" -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf {} +
rm -f "$STATE.lock"
at "the cluster is down; its logs are in $STATE/log"
