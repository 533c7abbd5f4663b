#!/usr/bin/env bash
# packages.sh: what a fresh Debian needs before anything can be built or tested. Quick when all of it is there.
set -euo pipefail

# What is looked for, and the package that brings it.
wanted=(
  cc:gcc make:make git:git curl:curl jq:jq openssl:openssl python3:python3 pip3:python3-pip
  faketime:faketime redis-server:redis-server
  containerd:containerd runc:runc prometheus:prometheus promtool:prometheus nft:nftables conntrack:conntrack ip:iproute2
  /usr/lib/cni/bridge:containernetworking-plugins /etc/ssl/certs/ca-certificates.crt:ca-certificates
)
PATH=$PATH:/usr/sbin:/sbin
missing=()
for pair in "${wanted[@]}"; do
  [ -e "${pair%%:*}" ] || command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
for tool in cargo go; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: install $([ "$tool" = go ] && echo "Go 1.26" || echo "Rust 1.95 with rustup") or newer and put it on the PATH" >&2; exit 1; }
done
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || { echo "missing, and there is no apt-get to install them: ${missing[*]}" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "missing, and only root can install them: ${missing[*]}" >&2; exit 1; }

echo "installing ${missing[*]}" >&2
# Debian starts what it installs, and none of these daemons is wanted on the host.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2
