#!/usr/bin/env bash
# crds.sh: print the files with the CRDs of all kinds of routes, one a line: those of the Gateway API and of Istio, in the
# very versions that istiod is built with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/istio"
go mod download sigs.k8s.io/gateway-api istio.io/api >&2
gateway=$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/standard
printf '%s\n' "$gateway"/gateway.networking.k8s.io_{http,grpc}routes.yaml
echo "$(go list -m -f '{{.Dir}}' istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml"
