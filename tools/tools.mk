# The tools the tests and the demo are made of, and the cluster of one node.
.PHONY: tools cluster-up cluster-down

tools:
	tools/build.sh kubernetes istio dns helm envoy

cluster-up:
	tools/cluster/up.sh

cluster-down:
	tools/cluster/down.sh
