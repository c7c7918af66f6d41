#!/usr/bin/env bash
# Builds the programs that the test bed runs from the Go modules pinned beside this script.
# Each lands in a cache outside the tree, in a folder named by the hash of what went into it, so a
# changed pin is built anew and an unchanged one never is. In the order in which the bed needs them.
#
#   build.sh            builds what is missing; prints the folder with all programs
#   build.sh --check    builds nothing; exits 1 and names what is missing, if anything
#
# The cache is $KURATOR_TOOLS, by default ~/.cache/kurator-rs/tools; a few gigabytes of Go's own cache
# come on top.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KURATOR_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/kurator-rs/tools}
kube_version=v1.34.4
velero_version=v1.18.3
min_go_minor=26

kube_flags="-X k8s.io/component-base/version.gitVersion=$kube_version -X k8s.io/component-base/version.gitMajor=1"
kube_flags+=" -X k8s.io/component-base/version.gitMinor=34 -X k8s.io/component-base/version.gitTreeState=clean"
kube_flags+=" -X k8s.io/component-base/version.buildDate=1970-01-01T00:00:00Z"
# A second stock Velero on one machine dies: controller-runtime's own metrics server wants port 8080.
velero_flags="-X github.com/vmware-tanzu/velero/pkg/buildinfo.Version=$velero_version"
velero_flags+=" -X sigs.k8s.io/controller-runtime/pkg/metrics/server.DefaultBindAddress=0"

# module folder | program | package | linker flags
programs() {
  echo "etcd|etcd|go.etcd.io/etcd/server/v3|"
  echo "kubernetes|kube-apiserver|k8s.io/kubernetes/cmd/kube-apiserver|$kube_flags"
  echo "kubernetes|kube-controller-manager|k8s.io/kubernetes/cmd/kube-controller-manager|$kube_flags"
  echo "s3|versitygw|github.com/versity/versitygw/cmd/versitygw|"
  echo "velero|velero|github.com/vmware-tanzu/velero/cmd/velero|$velero_flags"
  echo "velero|velero-plugin-for-aws|github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws|"
  echo "kubernetes|kubectl|k8s.io/kubernetes/cmd/kubectl|$kube_flags"
}

check_go() {
  if ! command -v go >/dev/null; then
    echo "hack/tools/build.sh: Go is missing. Install Go 1.$min_go_minor or newer and put it on PATH." >&2
    exit 1
  fi
  local found minor
  found=$(go env GOVERSION)
  minor=${found#go1.}
  minor=${minor%%[!0-9]*}
  if [[ ! $found =~ ^go1\. ]] || ((minor < min_go_minor)); then
    echo "hack/tools/build.sh: found $found, need Go 1.$min_go_minor or newer." >&2
    exit 1
  fi
}

# The hash covers the pins, the package and its flags; a program of another hash is another program.
stamp_of() {
  local module=$1 package=$2 flags=$3
  { cat "$here/$module/go.mod" "$here/$module/go.sum"; echo "$package $flags"; } | sha256sum | cut -c1-16
}

usage() {
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

# Prints the programs that are not built yet, in the order in which they will be.
missing() {
  local module program package flags
  while IFS='|' read -r module program package flags; do
    [[ -x $cache/store/$program-$(stamp_of "$module" "$package" "$flags")/$program ]] || echo "$program"
  done < <(programs)
}

build() {
  local module=$1 program=$2 package=$3 flags=$4 store=$5 started=$SECONDS
  echo "  $program: building $package ..." >&2
  mkdir -p "$store"
  if ! (cd "$here/$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local \
    go build -trimpath -ldflags "-s -w $flags" -o "$store/$program.part" "$package"); then
    echo "hack/tools/build.sh: $program could not be built, see above. What is built so far is kept." >&2
    exit 1
  fi
  mv "$store/$program.part" "$store/$program"
  echo "  $program: built in $((SECONDS - started)) s" >&2
}

case ${1:-} in
  '') check_only=false ;;
  --check) check_only=true ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
mkdir -p "$cache/bin" "$cache/store"
todo=$(missing)
if [[ -n $todo ]]; then
  if $check_only; then
    echo "not built: ${todo//$'\n'/ }. Run hack/tools/build.sh, about 18 minutes on two cores." >&2
    exit 1
  fi
  check_go
  # Two builds at once would build everything twice: the second waits for the first.
  exec 9>"$cache/lock"
  if ! flock -n 9; then
    echo "waiting for another hack/tools/build.sh to finish ..." >&2
    flock 9
  fi
  echo "building ${todo//$'\n'/ } into $cache; once, about 18 minutes for all on two cores" >&2
fi

while IFS='|' read -r module program package flags; do
  store="$cache/store/$program-$(stamp_of "$module" "$package" "$flags")"
  [[ -x $store/$program ]] || build "$module" "$program" "$package" "$flags" "$store"
  # Renamed over the old one, since a bed may be looking for it at this moment.
  if [[ $(readlink "$cache/bin/$program") != "$store/$program" ]]; then
    ln -sfn "$store/$program" "$cache/bin/$program.new.$$"
    mv -T "$cache/bin/$program.new.$$" "$cache/bin/$program"
  fi
done < <(programs)
[[ -z $todo ]] || echo "all programs built in $((SECONDS / 60)) min $((SECONDS % 60)) s" >&2
echo "$cache/bin"
