#!/usr/bin/env bash
# targets.sh: once a second, tell Prometheus which pods ask to be scraped. Debian's Prometheus cannot ask Kubernetes itself.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

targets() { # one group per running pod with the annotations prometheus.io/scrape, port and path
  curl -sf -m 2 --cacert "$PKI/ca.crt" --cert "$PKI/targets.crt" --key "$PKI/targets.key" "$API/api/v1/pods?resourceVersion=0" | jq -c '
    [ .items[] | .metadata as $pod | ($pod.annotations // {}) as $ask
      | select($ask["prometheus.io/scrape"] == "true" and .status.podIP != null and .status.phase == "Running")
      | {targets: ["\(.status.podIP):\($ask["prometheus.io/port"] // "80")"],
         labels: {namespace: $pod.namespace, pod: $pod.name, __metrics_path__: ($ask["prometheus.io/path"] // "/metrics")}} ]'
}

file=$STATE/prometheus/targets.json
while sleep 1; do
  targets >"$file.new" || continue # without an answer the last one holds
  cmp -s "$file.new" "$file" || mv "$file.new" "$file"
done
