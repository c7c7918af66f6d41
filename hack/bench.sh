#!/usr/bin/env bash
# Measures the times that are promised on a bed of real control planes, with our processes built for
# release: a member's change to the hub's status, a call through the proxy against a direct one, how
# long a fault takes to show, and how long a Migrate takes against Velero's own work in it. Ends with 1
# when a promise was missed. Arguments go to the benchmark; --help lists them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

hack/tools/build.sh >/dev/null
cargo build --workspace --bins --release --locked
exec "${CARGO_TARGET_DIR:-target}/release/bench" "$@"
