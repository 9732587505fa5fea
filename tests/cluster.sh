#!/usr/bin/env bash
# Runs a command where the embedded AWS can start a Kubernetes cluster: tests/cluster.sh COMMAND...
# What Debian has is installed. It has no package of Kubernetes' servers, but their source, of which they are built once, in about
# six minutes of CPU time, and kept under .pipeline/kubernetes; a build made elsewhere is named by PIPELINE_CLUSTER.
# Where there is no Debian or no root the command runs without; the tests that need a cluster are then skipped, or fail where
# CI is set.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$PWD/.pipeline/kubernetes

if [ "$(id -u)" != 0 ] || [ "$(uname -m)" != x86_64 ] || ! command -v apt-get > /dev/null; then
  echo "! no build of Kubernetes: root on Debian is needed, on x86-64; the emulator's EKS needs docker or podman, or a kubeconfig" >&2
  exec "$@"
fi

mkdir -p "$home"
install() {
  (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@") >> "$home/apt.log" 2>&1
}
missing=()
for need in etcd:etcd-server containerd:containerd runc:runc unshare:util-linux ip:iproute2 openssl:openssl; do
  command -v "${need%:*}" > /dev/null || missing+=("${need#*:}")
done
[ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
[ ${#missing[@]} -eq 0 ] || install "${missing[@]}"

# Debian 12 is the last whose source package is the whole tree.
build() {
  local work=$home/work
  install golang-1.19-go dpkg-dev rsync make golang-github-modern-go-reflect2-dev
  rm -rf "$work"
  mkdir -p "$work/lists/partial"
  local mirror # that this machine uses; the first is the distribution's own, not that of its updates
  mirror=$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' 'Component: main' | head -n 1)
  echo "deb-src $mirror bookworm main" > "$work/sources.list"
  local apt=(-o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$work/lists")
  apt-get "${apt[@]}" update
  (cd "$work" && apt-get "${apt[@]}" source --download-only kubernetes && dpkg-source --no-check -x kubernetes_*.dsc tree)
  # Its copy of this library ends at the first custom resource when Go is 1.18 or newer.
  rm "$work"/tree/vendor/github.com/modern-go/reflect2/*.{go,s}
  cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$work/tree/vendor/github.com/modern-go/reflect2/"
  mkdir -p "$work/tree/cmd/hyperkube" "$work/go/src/k8s.io"
  cp tests/data/hyperkube.go "$work/tree/cmd/hyperkube/main.go"
  ln -s "$work/tree" "$work/go/src/k8s.io/kubernetes"
  export PATH=/usr/lib/go-1.19/bin:$PATH GOPROXY=off CGO_ENABLED=0 GOFLAGS=-mod=vendor GOPATH=$work/go GOCACHE=$work/cache GOGC=400
  (cd "$work/tree" && GO111MODULE=on make generated_files)
  local version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
  (cd "$work/go/src/k8s.io/kubernetes" && GO111MODULE=off GOFLAGS= go build -trimpath -tags "providerless dockerless" \
    -ldflags "-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" \
    -o "$home/hyperkube.new" ./cmd/hyperkube)
  mv "$home/hyperkube.new" "$home/hyperkube"
  chmod -R u+w "$work"
  rm -rf "$work"
}
if [ -z "${PIPELINE_CLUSTER:-}" ]; then
  if [ ! -x "$home/hyperkube" ]; then
    (build) > "$home/build.log" 2>&1 & # in a condition bash would go on after a command that fails
    if ! wait $!; then
      echo "! no Kubernetes: its servers can't be built; the reason is in $home/build.log" >&2
      exec "$@"
    fi
  fi
  export PIPELINE_CLUSTER=$home/hyperkube
fi
exec "$@"
