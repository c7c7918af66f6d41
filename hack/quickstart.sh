#!/usr/bin/env bash
# The main job on this machine: a hub, two member clusters, Velero and object storage as plain
# processes, ours beside them, and one Backup of both members followed to its end.
#
#   hack/quickstart.sh          leaves everything running for kubectl until Ctrl-C
#   hack/quickstart.sh --once   stops everything at the end; exits non-zero unless all went well
#   hack/quickstart.sh --full   goes on after the Backup: loses the application, restores it, and
#                               again as it was at a point in time, and migrates it from one member
#                               to the other; goes with --once too
#
# The first run builds the programs of the test bed (about 20 minutes on two cores) and ours; the
# following ones start at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

min_rust_minor=95

fail() {
  echo "hack/quickstart.sh: $*" >&2
  exit 1
}

check_rust() {
  command -v cargo >/dev/null || fail "cargo is missing. Install Rust 1.$min_rust_minor or newer."
  local found minor
  found=$(cargo --version | awk '{print $2}')
  minor=${found#1.}
  minor=${minor%%[!0-9]*}
  if [[ ! $found =~ ^1\. ]] || ((minor < min_rust_minor)); then
    fail "found cargo $found, need Rust 1.$min_rust_minor or newer: rustup update"
  fi
}

for arg in "$@"; do
  case $arg in
    --once | --full) ;;
    -h | --help)
      sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) fail "unknown argument $arg; usage: hack/quickstart.sh [--full] [--once]" ;;
  esac
done

check_rust
command -v git >/dev/null || fail "git is missing: install it."
command -v cc >/dev/null || fail "cc is missing, which Rust links with: install a C compiler such as gcc."
# It checks Go, which only it needs.
hack/tools/build.sh >/dev/null
cargo build --workspace --bins --locked
exec "${CARGO_TARGET_DIR:-target}/debug/quickstart" "$@"
