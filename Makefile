# Virga's commands for people; `make help` lists them. Plain GNU make.
# Builds go to ./target, or to CARGO_TARGET_DIR (docs/decisions/0003 says why
# clones do not share one).
SHELL := /bin/sh
export CARGO_TARGET_DIR ?= $(CURDIR)/target
UP ?=
SEEDS ?= 1000
FIRST ?= 1

.PHONY: help up demo-rings demo-faults build test lab soak simulate fuzz check bench bench-ring bench-peers bench-identity bench-s3 mutants deps-build deps-test

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

up: build ## build, then run a cloud here (data in ./virga-data; UP="..." adds flags)
	exec target/release/virga up $(UP)

demo-rings: build ## a small cluster grows while it is read: plan, status, what moved (a minute)
	tools/demo-rings target/release/virga

demo-faults: build ## a node dies, bits flip, a disk fills, a node is added: what status says, how it heals (2 min)
	tools/demo-faults target/release/virga

build: deps-build ## build target/release/virga
	cargo build --release --locked --bin virga
	@built="$(CARGO_TARGET_DIR)/release/virga"; [ "$$built" -ef target/release/virga ] || \
	  { mkdir -p target/release && cp -f "$$built" target/release/virga; }

# The gate repeats the same random cases, so that it says the same of the same
# code; `make soak` explores with new seeds, and prints them. What keeps records
# is tested on both engines: PostgreSQL first, then SQLite with all the rest.
test: deps-build deps-test check ## every test: unit, behaviour, faults, clients
	cargo build --locked --bin virga
	PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-20261122} tools/with-postgres cargo nextest run --locked -p virga-state -p virga-identity
	PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-20261122} cargo nextest run --locked --workspace

# Which seeds: SEED is the first, so RUNS=1 SEED=n plays one again.
lab: deps-build deps-test ## faults on hosts with namespaces and disks of their own (RUNS=20 SEED=n; root)
	cargo build --release --locked --bin virga
	VIRGA_LAB_RUNS=$(or $(RUNS),20) VIRGA_SEED=$(or $(SEED),$$(date +%s)) \
	  cargo test --release --locked -p virga-tests --test lab -- --nocapture

soak: deps-build deps-test ## the long forms: hundreds of crash cycles, many seeds (an hour or so)
	cargo build --locked --bin virga
	VIRGA_SOAK=1 PROPTEST_CASES=10000 cargo nextest run --locked --workspace --profile soak

simulate: deps-build ## SEEDS=1000 simulated clusters on virtual time (FIRST=1); target/simulation/report.md
	VIRGA_SEEDS=$(SEEDS) VIRGA_FIRST=$(FIRST) cargo test --release --locked -p virga-tests --test simulation -- \
	  --nocapture --exact report::many_seeds_are_run_and_reported

fuzz: deps-build ## fuzz every reader of files (SECONDS=60 each; TARGETS="..." for some)
	tools/fuzz $(or $(SECONDS),60) $(TARGETS)

check: deps-build ## format, lints, layers, tidy, licences, docs: the fast gate
	cargo fmt --all --check
	cargo xtask check
	cargo clippy --locked --workspace --all-targets -- -D warnings

mutants: deps-build ## small changes of ring, disk and store that no test notices (SHARD=0/50 MINUTES=30 CRATES=ring)
	SHARD=$(or $(SHARD),0/50) MINUTES=$(or $(MINUTES),30) tools/mutants $(CRATES)

bench: deps-build ## the benchmark set; tables into target/bench/
	cargo build --release --locked --bin virga --bin virga-bench
	tools/bench/run

bench-peers: deps-build ## beside Swift, Garage and Ceph (root, apt): 12 minutes, QUICK=--quick for 4; target/bench/peers.md
	cargo build --release --locked --bin virga --bin virga-bench
	@mkdir -p "$(CARGO_TARGET_DIR)/bench"
	tools/bench/peers $(QUICK) > "$(CARGO_TARGET_DIR)/bench/peers.md"; code=$$?; \
	  cat "$(CARGO_TARGET_DIR)/bench/peers.md"; exit $$code

bench-s3: deps-build ## S3 beside Garage and Swift's s3api (root, apt): 8 minutes; target/bench/s3.md
	cargo build --release --locked --bin virga --bin virga-bench
	@mkdir -p "$(CARGO_TARGET_DIR)/bench"
	tools/bench/peers $(QUICK) --only virga-s3,garage,swift-s3 > "$(CARGO_TARGET_DIR)/bench/s3.md"; code=$$?; \
	  cat "$(CARGO_TARGET_DIR)/bench/s3.md"; exit $$code

bench-identity: deps-build ## identity beside Debian's Keystone (root, apt): 2 minutes; target/bench/identity.md
	cargo build --release --locked --bin virga --bin virga-bench
	@mkdir -p "$(CARGO_TARGET_DIR)/bench"
	tools/bench/identity $(FLAGS) > "$(CARGO_TARGET_DIR)/bench/identity.md"; code=$$?; \
	  cat "$(CARGO_TARGET_DIR)/bench/identity.md"; exit $$code

bench-ring: deps-build ## the ring beside Swift's tool; the tables on stdout and in target/bench/ring.md
	cargo build --release --locked --bin virga
	cargo build --release --locked -p virga-ring --example scenarios --example lookup_speed
	@mkdir -p "$(CARGO_TARGET_DIR)/bench"
	VIRGA_RING="$(CARGO_TARGET_DIR)/release/virga ring" VIRGA_EXAMPLES="$(CARGO_TARGET_DIR)/release/examples" \
	  tools/bench/ring-peer > "$(CARGO_TARGET_DIR)/bench/ring.md"; code=$$?; \
	  cat "$(CARGO_TARGET_DIR)/bench/ring.md"; exit $$code

deps-build:
	@tools/install-missing build
	@tools/build-rocksdb

deps-test:
	@tools/install-missing test
