#!/usr/bin/env bash
# generate.sh: everything that is written from the Rust types: CRDs, their copy in the chart, the plain manifests
# and the reference.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
helm=$(tools/build.sh helm)/helm
cargo build --quiet --locked --bin haldane
haldane=${CARGO_TARGET_DIR:-target}/debug/haldane

mkdir -p crds charts/haldane/files/crds deploy
rm -f crds/*.yaml charts/haldane/files/crds/*.yaml
for kind in releases releaseactions metricproviders notifiers; do
  "$haldane" crd "$kind" >"crds/$kind.yaml"
  cp "crds/$kind.yaml" charts/haldane/files/crds/
done
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
sed -i "s/^version: .*/version: $version/; s/^appVersion: .*/appVersion: \"$version\"/" charts/haldane/Chart.yaml
# The oldest server the chart allows; the manifests are the same for all. Without hooks: applied with the rest, the Job that
# goes before an uninstall would run at once.
template() { "$helm" template haldane charts/haldane --namespace haldane-system --kube-version 1.30.0 --set namespace.create=true "$@"; }
template --no-hooks >deploy/install.yaml
template --show-only templates/retire-job.yaml >deploy/retire.yaml
template --set policies.holdAtChange=true --show-only templates/policy-hold-at-change.yaml >deploy/hold-at-change.yaml
sed -i '1a # Written by `make generate` from charts/haldane: change the chart, not this file.' deploy/*.yaml
"$haldane" crd --docs >docs/reference.md
