# lib.sh: how the demo speaks, keeps count of its promises, and asks the cluster. Sourced, never run.
# shellcheck shell=bash

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' blue=$'\e[36m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' yellow='' blue='' plain=''
fi

began=$SECONDS
clock() { printf '%d:%02d' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)); }
chapter() { printf '\n%s%s  %s%s\n' "$bold$blue" "$(clock)" "$*" "$plain"; }
say() { printf '      %s\n' "$*"; }
quote() { sed "s/^/      $dim/; s/\$/$plain/"; } # what another program prints
now_and_then() { # of a long output a line every 20 s, and the last
  local line last='' next=$((SECONDS + 5))
  while IFS= read -r line; do
    last=$line
    [ $SECONDS -ge $next ] || continue
    printf '%s\n' "$line"
    next=$((SECONDS + 20)) last=''
  done
  [ -z "$last" ] || printf '%s\n' "$last"
}
die() {
  printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}

# --- promises: each is checked, printed, and counted; one broken promise fails the demo ------------------------------

broken=0
summary=()
promise() { # promise TEXT COMMAND...: kept when the command succeeds
  local text=$1
  shift
  if "$@"; then
    summary+=("${green}kept  $plain  $text")
    say "${green}✓$plain $text"
  else
    broken=$((broken + 1))
    summary+=("${red}BROKEN$plain  $text")
    say "${red}✗ $text$plain"
  fi
}

same() { # same WHAT: the file kept before equals the one kept after, byte for byte
  cmp -s "$work/before/$1" "$work/after/$1" || {
    diff <(jq . "$work/before/$1" 2>/dev/null || cat "$work/before/$1") <(jq . "$work/after/$1" 2>/dev/null || cat "$work/after/$1") | quote
    return 1
  }
}

until_() { # until_ SECONDS COMMAND...: poll
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

# --- the cluster -----------------------------------------------------------------------------------------------------

shop() { kubectl --namespace shop "$@"; }

pods() { # pods VERSION: the UIDs of the checkout pods that run it and are not on their way out
  shop get pods -l app=checkout -o json | jq -r --arg image "haldane.local/demo:$1" \
    '.items[] | select(.metadata.deletionTimestamp == null and .spec.containers[0].image == $image) | .metadata.uid' | sort
}

photograph() { # photograph FOLDER: what must be as it was when a release has ended
  mkdir -p "$work/$1"
  shop get httproute checkout -o json | jq -c .spec >"$work/$1/route"
  shop get service checkout -o json | jq -c .spec >"$work/$1/service"
  shop get deployment checkout -o json | jq -c '.spec | del(.template.spec.containers[0].image)' >"$work/$1/deployment"
  shop get deployment checkout -o json | jq -r '.spec.template.spec.containers[0].image' >"$work/$1/image"
  shop get services -o name >"$work/$1/services"
}

# --- load ------------------------------------------------------------------------------------------------------------

load_start() { # load_start FILE: a constant rate of requests through the gateway until load_stop
  load_file=$1
  rm -f "$load_file" # an earlier run's
  "$work/demo" load --url "$url" --host shop.example --rate "$rate" --connections "${connections:-8}" --out "$load_file" >/dev/null &
  load_pid=$!
}

sent_at_least() { [ "$(loaded '.sent // 0' 2>/dev/null || echo 0)" -ge "$1" ]; }

more_load() { # more_load N: until so many more requests have been sent
  local so_far
  so_far=$(loaded '.sent // 0' 2>/dev/null || echo 0)
  until_ 30 sent_at_least $((so_far + $1)) || die "fewer than $1 requests were sent in 30 s"
}

load_stop() {
  [ -n "${load_pid:-}" ] || return 0
  kill "$load_pid" 2>/dev/null || true # it may have ended by itself
  wait "$load_pid" || true
  load_pid=
}

loaded() { jq "$@" <"$load_file"; } # loaded JQ-FILTER: ask what came back
answers() { loaded -r '.versions | to_entries | map("\(.key) \([.value.codes[]] | add)") | sort | join("  ")' 2>/dev/null || true; }
