# Everything that a person or the CI does with this repository. `make` prints the list.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tools and build output live outside the clone, so that the next clone starts warm.
export KEYTURN_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/keyturn
export CARGO_TARGET_DIR ?= $(KEYTURN_CACHE)/target
# Tests of whole processes wait more than they compute.
export RUST_TEST_THREADS ?= 8

in_cluster := tests/cluster/run.sh
fuzz := --manifest-path tests/fuzz/Cargo.toml

.PHONY: help
help: ## print this list
	@printf 'make TARGET, where TARGET is\n'
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf 'With CLUSTER=existing, demo, test and bench use the current kubeconfig'"'"'s cluster.\n'
	@printf 'With KEYTURN_PROFILE=dev, e2e, e2e-gateway and faults compile an unoptimised program, in a fraction of the time.\n'

# The release build: the demo shows latencies, which an unoptimised build would misstate.
.PHONY: demo
demo: tools ## the walk-through: a key from kubectl apply to its end, on a real API server and nginx
	cargo build --release --bin keyturn
	cargo bench --no-run --bench revocation
	$(in_cluster) tests/demo.sh "$(CARGO_TARGET_DIR)/release/keyturn"

.PHONY: image
image: ## the container image, with its bill of materials, built twice and checked; as root
	tests/image.sh

# Where Docker is, or to see what it would be asked.
.PHONY: e2e-kind
e2e-kind: ## as e2e, on a node that kind makes in Docker; as root
	tests/kind.sh
	image/build.sh
	tests/kind/run.sh tests/e2e.sh "$(CARGO_TARGET_DIR)/image"

# Built once: that two builds are the same is what `make image` shows.
.PHONY: e2e
e2e: ## installed by its chart on a Kubernetes node with pods, behind Traefik; as root
	image/build.sh
	tests/node.sh
	tests/node/run.sh tests/e2e.sh "$(CARGO_TARGET_DIR)/image"

# The node of `make e2e`, and what goes wrong on it. The second build is for the verifier whose clock is wrong: the program of the
# image takes no library that could deceive it.
.PHONY: faults
faults: ## what becomes of requests on that node while pods, API server, etcd or the node fail; as root
	image/build.sh
	cargo build --bin keyturn
	tests/node/run.sh tests/faults.sh "$(CARGO_TARGET_DIR)/image" "$(CARGO_TARGET_DIR)/debug/keyturn"

# By itself, for the first run builds Envoy Gateway.
.PHONY: e2e-gateway
e2e-gateway: ## the same behind Envoy Gateway, with its policies right and wrong; as root
	image/build.sh
	tests/node/run.sh tests/e2e-gateway.sh "$(CARGO_TARGET_DIR)/image"

.PHONY: test
test: tools ## every test, against an API server of its own
	cargo test --no-run
	$(in_cluster) cargo test --no-fail-fast

.PHONY: lint
lint: ## formatting, clippy, dependencies, scripts, and whether crds/ is what the types say
	tests/tools/install.sh cargo-deny >/dev/null
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo fmt --check $(fuzz)
	cargo clippy $(fuzz) --no-default-features --locked -- -D warnings
	"$(KEYTURN_CACHE)/bin/cargo-deny" --log-level warn check bans licenses sources
	for script in .ci/run $$(git ls-files '*.sh'); do bash -n "$$script"; done
	generated=$$(mktemp -d) && trap 'rm -rf "$$generated"' EXIT && \
	  cargo run --quiet --bin keyturn -- crds --dir "$$generated" && \
	  { diff -r crds "$$generated" || { echo 'crds/ is not what the types say: run make crds' >&2; exit 1; }; }

.PHONY: audit
audit: ## known vulnerabilities in dependencies; fetches the advisory database
	tests/tools/install.sh cargo-deny >/dev/null
	"$(KEYTURN_CACHE)/bin/cargo-deny" check advisories

.PHONY: crds
crds: ## write crds/ from the Rust types, and what the chart carries of this repository
	cargo run --quiet --bin keyturn -- crds --dir crds
	tests/chart.sh

.PHONY: manifests
manifests: crds ## as crds, and config/default from the chart
	tests/chart.sh render

.PHONY: bench
bench: tools ## the benchmarks of docs/benchmarks.md
	cargo bench --no-run
	$(in_cluster) cargo bench

.PHONY: fuzz
fuzz: ## every parser of strangers' bytes, FUZZ_SECONDS (600) each; tests/fuzz.sh TARGET runs one
	tests/fuzz.sh

.PHONY: tools
tools: ## bring the pinned outside tools into the cache
	@tests/tools/install.sh >/dev/null
