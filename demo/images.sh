#!/usr/bin/env bash
# images.sh FOLDER [NAME NAME=VALUE...]: write the demo's three versions into FOLDER, or one that is what the values say.
# They are one binary; what differs is baked into the image.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$1
mkdir -p "$out"
version() { # version NAME NAME=VALUE...
  local name=$1 envs=()
  shift
  for value in "$@"; do envs+=(--env "$value"); done
  "$here/../tools/image.sh" --ref "haldane.local/demo:$name" --env "VERSION=$name" "${envs[@]}" --binary "$out/demo" "$out/$name.tar"
}
if [ $# -gt 1 ]; then
  version "${@:2}"
  exit
fi
(cd "$here/app" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w" -o "$out/demo" .)
version v1
version v2
version v3 ERROR_RATE=0.4
