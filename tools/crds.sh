#!/usr/bin/env bash
# crds.sh: print the folder with the Gateway API CRDs, of the very version that istio is built with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/istio"
go mod download sigs.k8s.io/gateway-api >&2
echo "$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/standard"
