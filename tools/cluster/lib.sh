# lib.sh: settings and the few words that all parts of the cluster use. Sourced, never run.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(dirname "$here")

# Everything the cluster writes is below STATE. Unix socket paths end at 107 bytes, so STATE must be short.
STATE=${HALDANE_CLUSTER_STATE:-/run/haldane-cluster}
BRIDGE=${HALDANE_CLUSTER_BRIDGE:-haldane0}
NET=${HALDANE_CLUSTER_NET:-10.231.0}           # pods: NET.0/24; NET.1 is the bridge and the node
SERVICES=${HALDANE_CLUSTER_SERVICES:-10.232.0} # services: SERVICES.0/24

# The manifests and configuration files below config/ and manifests/ use these as @NAME@.
NODE=haldane
NODE_IP=$NET.1
POD_CIDR=$NET.0/24
POD_FIRST=$NET.10
SERVICE_CIDR=$SERVICES.0/24
API_IP=$SERVICES.1
DNS_IP=$SERVICES.10
API=https://$NODE_IP:6443
ETCD=https://$NODE_IP:2379
ETCD_PEER=https://$NODE_IP:2380
PKI=$STATE/pki
CONF=$STATE/conf
SOCKET=$STATE/containerd/c.sock
CGROUP=haldane-cluster
export KUBECONFIG=$STATE/kubeconfig

began=$(date +%s%N)
at() { # at TEXT: one line of progress with the seconds since the start
  local ms=$((($(date +%s%N) - began) / 1000000))
  printf '%5d.%d s  %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$*"
}

die() {
  echo "cluster: $*" >&2
  exit 1
}

ctr() { command ctr --address "$SOCKET" --namespace k8s.io "$@"; }

render() { # render FILE: the file with each @NAME@ replaced by the setting of that name
  local text name
  text=$(<"$1")
  while [[ $text =~ @([A-Z_]+)@ ]]; do
    name=${BASH_REMATCH[1]}
    text=${text//"@$name@"/"${!name}"}
  done
  printf '%s\n' "$text"
}

one_at_a_time() { # up and down take turns; the lock ends with the script and its helpers, even when they are killed
  exec 9>"$STATE.lock"
  flock -n 9 && return
  at "another cluster-up or cluster-down is at work on $STATE; waiting for it"
  flock -w 300 9 || die "it did not end within 300 s"
}

# --- processes: known by pid and kernel start time, so that a recycled pid is never taken for ours -------------------

start_time() { # start_time PID: clock ticks since boot at which the process began
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  read -r -a stat <<<"${stat##*) }" # the command's name may hold spaces; what follows its bracket does not
  [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

alive() { # alive NAME: the recorded process still runs
  local pid began
  [ -s "$STATE/run/$1" ] && read -r pid began <"$STATE/run/$1" && [ "$(start_time "$pid")" = "$began" ]
}

start() { # start NAME COMMAND...: in the background, unless it runs already
  local name=$1
  shift
  alive "$name" && return
  rm -f "$STATE/run/$name"
  # The process records itself before it becomes the program: killing this script at any moment loses no pid.
  setsid bash -c '. "$0/lib.sh"; record=$1; shift; echo "$$ $(start_time $$)" >"$record"; exec "$@"' \
    "$here" "$STATE/run/$name" "$@" >>"$STATE/log/$name.log" 2>&1 </dev/null 9>&- &
  local tries=0
  until [ -s "$STATE/run/$name" ]; do
    [ $((tries += 1)) -lt 100 ] || die "$name did not start; see $STATE/log/$name.log"
    sleep 0.05
  done
}

stop() { # stop NAME: TERM, after 10 s KILL
  local pid tries=0
  if alive "$1"; then
    read -r pid _ <"$STATE/run/$1"
    kill "$pid"
    while alive "$1"; do
      [ $((tries += 1)) -ne 100 ] || kill -9 "$pid"
      sleep 0.1
    done
  fi
  rm -f "$STATE/run/$1"
}

wait_for() { # wait_for SECONDS WHAT COMMAND...: until the command succeeds; fails at once when a process has died
  local limit=$1 what=$2 record name end
  shift 2
  end=$((SECONDS + limit))
  until "$@" >/dev/null 2>&1; do
    for record in "$STATE"/run/*; do
      name=$(basename "$record")
      alive "$name" || die "$name ended while waiting for: $what. Its last words: $(tail -n 3 "$STATE/log/$name.log")"
    done
    [ $SECONDS -lt $end ] || die "waited $limit s in vain for: $what; the logs are in $STATE/log"
    sleep 0.1
  done
  at "$what"
}

# --- what is shared with the rest of the machine is claimed by name before it is made, and only then given back ------

owned() { grep -qsxF "$*" "$STATE/owned"; }
own() { owned "$*" || echo "$*" >>"$STATE/owned"; }
