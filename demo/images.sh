#!/usr/bin/env bash
# images.sh FOLDER: write the demo's three versions into FOLDER. They are one binary; what differs is baked into the image.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$1
mkdir -p "$out"
(cd "$here/app" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w" -o "$out/demo" .)
version() { # version NAME ERROR-RATE
  "$here/../tools/image.sh" --ref "haldane.local/demo:$1" --env "VERSION=$1" --env "ERROR_RATE=$2" --binary "$out/demo" "$out/$1.tar"
}
version v1 0
version v2 0
version v3 0.4
