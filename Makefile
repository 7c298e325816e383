# SPDX-License-Identifier: Apache-2.0
# Everything a contributor or a CI job runs. `make help` lists it.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# rustup may have been installed a minute ago, in a shell that has not seen it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin:/usr/sbin:/sbin
export CARGO_TERM_COLOR ?= auto

# A CI job works in a new clone each time, so its build folder lives outside of it.
ifdef CI
ifndef CARGO_TARGET_DIR
export CARGO_TARGET_DIR := $(shell scripts/target-dir.sh)
endif
endif

# One profile for lints, docs and tests, so that they share what they compile.
PROFILE ?= ci
PREFIX ?= /usr/local
SOAK_MINUTES ?= 30
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
FATHOM := $(TARGET)/release/fathom
XTASK := cargo run --quiet --locked --profile $(PROFILE) --package xtask --
C_SOURCES := $(shell find crates -name '*.bpf.[ch]' -o -name '*_abi.h') fuzz/c/parse_host.c
C_FORMAT = clang-format --style=file
AS_ROOT := $(CURDIR)/scripts/as-root.sh

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## run the agent on this machine
	@$(AS_ROOT) scripts/mount-bpffs.sh
	$(AS_ROOT) $(FATHOM) agent --config examples/local.yaml

demo: build ## run the agent on a laboratory of network namespaces
	@$(AS_ROOT) scripts/mount-bpffs.sh
	$(AS_ROOT) $(FATHOM) demo

build: setup-build ## build the release binary
	cargo build --release --locked --package fathom
	@echo "built $(FATHOM)"

install: build ## copy the binary to PREFIX/bin, by default /usr/local/bin
	$(AS_ROOT) install -D -m 0755 $(FATHOM) $(DESTDIR)$(PREFIX)/bin/fathom

test: setup-test ## run everything that CI runs, root tests included
	@$(AS_ROOT) true
	@$(MAKE) check test-all test-metrics

check: check-format check-lints check-house ## formatting, lints, docs, sizes, licences

check-format: setup-test
	cargo fmt --all --check
	$(C_FORMAT) --dry-run -Werror $(C_SOURCES)
	test -z "$$(gofmt -d scripts | tee /dev/stderr)"

check-lints: setup-test
	cargo clippy --workspace --all-targets --locked --profile $(PROFILE) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --profile $(PROFILE)

check-house: setup-test
	$(XTASK) check-size
	$(XTASK) docs --check
	$(XTASK) licences

test-unit: setup-build ## run the tests that need no rights
	cargo build --workspace --bins --tests --locked --profile $(PROFILE)
	cargo test --workspace --locked --profile $(PROFILE) --no-fail-fast

# Tests of the whole program need the program, a collector to push to and a peer to measure with
# (after the rest: two builds at once would only wait for each other). One ignored test
# is the inner half of another, which starts it with what it needs.
test-all: setup-test ## run all tests; cargo builds as you, tests run as root
	@$(AS_ROOT) scripts/mount-bpffs.sh
	scripts/collector.sh >/dev/null & collector=$$!; \
		cargo build --workspace --bins --tests --locked --profile $(PROFILE) && wait $$collector
	scripts/stamp-suite.sh >/dev/null
	scripts/cargo-as-root.sh test --workspace --locked --profile $(PROFILE) --no-fail-fast -- \
		--include-ignored --skip pushes_once_with_the_authorities_of_the_system

test-metrics: setup-test ## let promtool check what the agent shows
	cargo build --workspace --bins --tests --locked --profile $(PROFILE)
	$(AS_ROOT) scripts/check-metrics.sh $(abspath $(TARGET))/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/fathom

bench: setup-test ## run the benchmarks, print tables and JSON
	scripts/stamp-suite.sh >/dev/null
	$(XTASK) bench flows

soak: export FATHOM_CASES ?= 200000
soak: setup-test ## repeat all tests for SOAK_MINUTES, stop at the first failure
	$(XTASK) soak --minutes $(SOAK_MINUTES)

docs: setup-build ## write the generated references below docs/
	$(XTASK) docs

fmt: ## format Rust, C and Go
	cargo fmt --all
	$(C_FORMAT) -i $(C_SOURCES)
	gofmt -w scripts

setup-build: ## install what the build needs
	@scripts/packages.sh build
	@scripts/toolchain.sh

setup-test: ## install what the tests need
	@scripts/packages.sh test
	@scripts/toolchain.sh

clean: ## remove what was built
	cargo clean

.PHONY: help run demo build install test check check-format check-lints check-house test-unit test-all test-metrics bench soak docs fmt setup-build setup-test clean
