#!/usr/bin/env bash
# deny.sh: licences, bans and sources of all dependencies; and known vulnerabilities, where their list can be fetched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${HALDANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/haldane}
version=0.20.2

deny=$cache/cargo-tools/cargo-deny-$version/bin/cargo-deny
if [ ! -x "$deny" ]; then
  echo "$(date +%T)  building cargo-deny $version, once (unoptimised: it runs for a second)"
  CARGO_TARGET_DIR=$cache/cargo-tools/target cargo install --quiet --debug --locked --version "$version" \
    --root "$cache/cargo-tools/cargo-deny-$version" cargo-deny
  rm -rf "$cache/cargo-tools/target"
fi
"$deny" --locked check --hide-inclusion-graph licenses bans sources
if timeout 60 "$deny" --locked fetch db >/dev/null 2>&1; then
  "$deny" --locked check --hide-inclusion-graph --disable-fetch advisories
else
  echo "the list of known vulnerabilities could not be fetched: NOT checked this time"
fi
