# images.sh: the cluster's own images, made from binaries of this machine and handed to containerd as files.
# shellcheck shell=bash

import() { # import REF IMAGE-OPTIONS-AND-BINARIES...: unless containerd has it
  local ref=$1
  shift
  [ -z "$(ctr images ls -q "name==$ref")" ] || return 0
  "$tools/image.sh" "$@" --ref "$ref" "$STATE/image.tar"
  ctr images import "$STATE/image.tar" >/dev/null
  rm "$STATE/image.tar"
}

images() {
  cc -static -Os -s -o "$STATE/pause" "$here/pause.c"
  import haldane.local/pause:1 --binary "$STATE/pause"
  import haldane.local/envoy:1 --binary "$envoy/envoy"
  import haldane.local/prometheus:1 --binary "$(command -v prometheus)"
}
