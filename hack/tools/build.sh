#!/usr/bin/env bash
# Builds the programs that the test bed runs from the Go modules pinned beside this script.
# Each lands in a cache outside the tree, in a folder named by the hash of what went into it, so a
# changed pin is built anew and an unchanged one never is. In the order in which the bed needs them.
#
#   build.sh            builds what is missing, prints the folder with all programs last
#   build.sh --check    exits 0 if nothing is missing, 1 otherwise; builds nothing
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

check_only=false
[[ ${1:-} == --check ]] && check_only=true
mkdir -p "$cache/bin" "$cache/store"
# Two builds at once would build everything twice: the second waits for the first.
exec 9>"$cache/lock"
$check_only || flock 9

while IFS='|' read -r module program package flags; do
  store="$cache/store/$program-$(stamp_of "$module" "$package" "$flags")"
  if [[ ! -x $store/$program ]]; then
    if $check_only; then
      echo "$program is not built: run hack/tools/build.sh" >&2
      exit 1
    fi
    check_go
    echo "building $program ($package) ..." >&2
    started=$SECONDS
    mkdir -p "$store"
    (cd "$here/$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local \
      go build -trimpath -ldflags "-s -w $flags" -o "$store/$program.part" "$package")
    mv "$store/$program.part" "$store/$program"
    echo "built $program in $((SECONDS - started)) s" >&2
  fi
  ln -sfn "$store/$program" "$cache/bin/$program.new"
  mv -T "$cache/bin/$program.new" "$cache/bin/$program"
done < <(programs)
echo "$cache/bin"
