# Everything goes through cargo; these are the shortcuts. Needs Debian (or what its packages hold),
# make and a Rust toolchain.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up test contract soak bench lint docs tools queries queries-check clean

# The checked SQL macros read .sqlx/, so that a build needs no database.
export SQLX_OFFLINE ?= true

target := $${CARGO_TARGET_DIR:-target}

help: ## Say what there is
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 16

up: tools ## Start everything and serve on 127.0.0.1:8080
	cargo build --release --locked -p touchline-server
	exec $(target)/release/touchline up

test: tools ## Run every test, on PostgreSQL and NATS servers of their own
	cargo test --workspace --locked --no-run
	exec $(target)/debug/with-services cargo test --workspace --locked

soak: tools ## Break 1,000 things at random under clients at work (TOUCHLINE_SOAK_FAULTS)
	cargo test --workspace --locked --test server --no-run
	cargo test --workspace --locked --test server -- --ignored --nocapture faults::soak

contract: ## Hold a running instance to its OpenAPI document, with schemathesis
	@scripts/install-tools contract
	cargo build --workspace --locked --bin touchline
	exec .tools/schemathesis/bin/python scripts/contract/run $(target)/debug/touchline

bench: tools ## Measure against the peers
	cargo build --release --locked -p touchline-server -p touchline-bench
	exec $(target)/release/touchline-bench

lint: ## Check format, lints and documentation
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

docs: ## Write what docs/ has from the code anew: problems.md and openapi.json
	TOUCHLINE_UPDATE_DOCS=1 cargo test --workspace --locked --test http is_that_of_the_code

tools: ## Install what is missing on this machine
	@scripts/install-tools

queries: tools ## Write .sqlx/ anew, after a change of checked SQL
	cargo build --workspace --locked --bin with-services
	exec $(target)/debug/with-services scripts/prepare-queries

queries-check: tools
	cargo build --workspace --locked --bin with-services
	exec $(target)/debug/with-services scripts/prepare-queries --check

clean: ## Remove what was built and installed here; the data in .touchline stays
	cargo clean
	rm -rf .tools
