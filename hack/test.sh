#!/usr/bin/env bash
# Every check that CI runs. The last line says how many tests passed and how many failed.
#
#   hack/test.sh              all: format, lints, generated files, unit, integration and e2e tests
#   hack/test.sh --quick      only what needs none of the test bed's programs (no Go, no Velero)
#   hack/test.sh --repeat N   the e2e tests N times, as they are built now or built once first
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=all
repeat=1
case ${1:-} in
  "") ;;
  --quick) mode=quick ;;
  --repeat)
    mode=repeat
    repeat=${2:-}
    if [[ ! $repeat =~ ^[1-9][0-9]*$ ]]; then
      echo "usage: hack/test.sh --repeat N, with N of 1 or more" >&2
      exit 2
    fi
    ;;
  *)
    echo "usage: hack/test.sh [--quick | --repeat N]" >&2
    exit 2
    ;;
esac

command -v cargo >/dev/null || {
  echo "hack/test.sh: cargo is missing. Install Rust 1.95 or newer." >&2
  exit 1
}
command -v cc >/dev/null || {
  echo "hack/test.sh: cc is missing, which Rust links with. Install a C compiler such as gcc." >&2
  exit 1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0
# Snapshots are never rewritten by a test run.
export INSTA_UPDATE=no
[[ -n ${CI:-} ]] && export CARGO_INCREMENTAL=0

# Runs one command as one check that passes or fails.
check() {
  local name=$1 started=$SECONDS
  shift
  echo "== $name"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $name ($*)"
  fi
  echo "   took $((SECONDS - started)) s"
}

# Runs a cargo test command and adds up the results of all its test binaries.
tests() {
  local name=$1 started=$SECONDS status p f
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  p=$(awk '/^test result:/ {for (i = 2; i <= NF; i++) if ($i ~ /^passed/) n += $(i-1)} END {print n + 0}' "$log")
  f=$(awk '/^test result:/ {for (i = 2; i <= NF; i++) if ($i ~ /^failed/) n += $(i-1)} END {print n + 0}' "$log")
  # A test binary that died, or a build that failed, prints no result of its own.
  if ((status != 0 && f == 0)); then
    f=1
    echo "FAILED: $name ended with status $status ($*)"
  fi
  passed=$((passed + p))
  failed=$((failed + f))
  echo "   took $((SECONDS - started)) s"
}

# Always the whole workspace: a selection of packages would build shared dependencies once more with
# other features. Test targets are `it` (a crate on real servers) and `journeys` (all of it together).
if [[ $mode != repeat ]]; then
  check "format" cargo fmt --all --check
  check "lints" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
fi
check "our processes" cargo build --workspace --bins --locked --quiet
if [[ $mode != repeat ]]; then
  check "generated CRDs are fresh" "${CARGO_TARGET_DIR:-target}/debug/crdgen" --check
  # Licences and sources of what we depend on; not on every machine.
  if command -v cargo-deny >/dev/null; then
    check "dependencies" cargo deny --all-features check bans licenses sources
  else
    echo "== dependencies: not checked, cargo-deny is not installed"
  fi
  tests "unit tests" cargo test --workspace --locked --no-fail-fast --lib --bins
fi

if [[ $mode != quick ]]; then
  check "tool binaries" hack/tools/build.sh
fi

if [[ $mode == all ]]; then
  tests "integration tests" cargo test --workspace --locked --no-fail-fast --test it -- --test-threads 4
fi

if [[ $mode != quick ]]; then
  for ((i = 1; i <= repeat; i++)); do
    tests "e2e tests, run $i of $repeat" \
      cargo test --workspace --locked --no-fail-fast --test journeys -- --test-threads 8
  done
fi

echo "$passed passed, $failed failed"
((failed == 0))
