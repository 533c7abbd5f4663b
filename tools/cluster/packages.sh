# packages.sh: the Debian packages the cluster is made of, beside what tools/build.sh builds.
# shellcheck shell=bash

need_packages() {
  local missing=() pair
  for pair in containerd:containerd runc:runc prometheus:prometheus nft:nftables conntrack:conntrack ip:iproute2 jq:jq openssl:openssl \
    curl:curl cc:gcc /usr/lib/cni/bridge:containernetworking-plugins /etc/ssl/certs/ca-certificates.crt:ca-certificates; do
    [ -e "${pair%%:*}" ] || PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get to install them: ${missing[*]}"
  at "installing ${missing[*]}"
  [ "$(id -u)" = 0 ] || die "these packages are missing and only root can install them: ${missing[*]}"
  # Debian starts what it installs; none of these daemons is wanted on the host.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$STATE/log/apt.log" 2>&1 ||
    die "apt-get could not install ${missing[*]}; see $STATE/log/apt.log"
  trap - EXIT
  [ "$(cat /usr/sbin/policy-rc.d)" != $'#!/bin/sh\nexit 101' ] || rm /usr/sbin/policy-rc.d
}
