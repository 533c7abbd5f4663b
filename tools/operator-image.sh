#!/usr/bin/env bash
# operator-image.sh OUT.tar: the operator as a static binary in an image FROM scratch.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
target=$(rustc -vV | sed -n 's/^host: //p')
# In a folder of its own: other flags than the developer's builds would make each throw the other's work away.
build=${CARGO_TARGET_DIR:-target}/image
RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=$build cargo build --release --locked --target "$target" --bin haldane
tools/image.sh --ref "${HALDANE_IMAGE:-haldane.local/haldane:dev}" --binary "$build/$target/release/haldane" \
  --file /etc/ssl/certs/ca-certificates.crt=/etc/ssl/certs/ca-certificates.crt "$1"
