SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

-include tools/tools.mk
-include demo/demo.mk

# Their recipes are in the two files above.
tools: ## Build Kubernetes, istiod, CoreDNS, Helm and fetch Envoy, once
cluster-up: ## Start the one-node cluster
cluster-down: ## Stop what cluster-up started
demo: ## Watch a good release and a bad one on a real cluster (KEEP=1 leaves it up)
bench-cluster: ## Figures that need a whole cluster: 30 rollbacks under load
bench-traffic: ## 200 cycles over every kind of traffic on a real cluster under load, about 20 minutes; the last line is JSON
verdicts: ## Bad versions of every kind on a real cluster, about 20 minutes (WORLDS="slow hangs"); the last line is JSON
image: ## Write the operator's image to target/image/haldane.tar

.PHONY: help build test packages fmt lint deny generate check-generated chart unit integration test-long seeded bench bench-verdict fuzz demo-test

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

build: ## The binary, target/debug/haldane
	cargo build --locked

test: ## All checks and tests, the demo on a whole cluster included: what CI runs
	tools/parts.sh packages tools fmt lint deny check-generated chart unit integration demo-test

packages: ## Install the Debian packages that building and testing need
	tools/packages.sh

fmt: ## Check the formatting
	cargo fmt --check

lint: ## Clippy, with everything it says an error
	cargo clippy --locked --all-targets -- -D warnings

deny: ## Check licences, sources and known vulnerabilities of all dependencies
	tools/deny.sh

generate: ## Write CRDs, chart copies, the manifests of deploy and docs/reference.md
	tools/generate.sh

check-generated: ## Fail when generated files are stale (and write them)
	@sums() { find crds charts/haldane/files charts/haldane/Chart.yaml deploy docs/reference.md -type f | sort | xargs sha256sum; }; \
	before=$$(sums); tools/generate.sh; \
	stale=$$({ diff <(echo "$$before") <(sums) || true; } | sed -n 's/^[<>] [0-9a-f]*  //p' | sort -u); \
	[ -z "$$stale" ] || { printf 'stale, and written anew; commit them:\n%s\n' "$$stale"; exit 1; } >&2

chart: ## Lint the chart
	@helm=$$(tools/build.sh helm)/helm; $$helm lint --strict --kube-version 1.30.0 charts/haldane; \
	$$helm lint --strict --kube-version 1.30.0 charts/haldane --set 'watchNamespaces={shop}' --set networkPolicy.enabled=true --set retire.timeout=90s

unit: ## Tests that need no cluster, property tests included; the seeded faults still apply
	tools/seeded.sh --applies
	cargo test --locked --lib --bins

integration: ## Tests against a real control plane and a real Prometheus
	cargo test --locked --test '*' --no-run
	tools/limited.sh 25 cargo test --locked --test it -- --test-threads=6 # they wait more than they work
	tools/limited.sh 25 cargo test --locked --test fire --test install --test rules

test-long: ## The long runs: every crash point, every plan of stale views, all seeded faults (hours)
	HALDANE_LONG=1 cargo test --locked --test rules -- --nocapture
	HALDANE_LONG=1 cargo test --locked --test fire -- --nocapture --test-threads=1
	tools/seeded.sh

seeded: ## Put each fault of tests/seeded into a copy of the tree and see that a test catches it (an hour or more)
	tools/seeded.sh

bench: ## Figures of rollbacks on a control plane, about 35 minutes; the last line is JSON
	cargo bench --locked --bench rollback

bench-verdict: ## Simulated releases: false rollbacks and time to detection (ARGS='--seed 7 --good 400'); the last line is JSON
	cargo bench --locked --bench verdict -- $(ARGS)

fuzz: ## Fuzz the parsers of recordings and checks, a minute each (SECONDS=600); needs a nightly compiler
	tools/fuzz.sh $(SECONDS)

demo-test: ## The demo as a test: it fails when a promise is broken
	demo/demo.sh --test
