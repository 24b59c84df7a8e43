#!/usr/bin/env bash
# Brings the pinned outside tools that the tests and the demo need into a cache
# folder, checks each by asking it for its version, and prints that folder.
#
#   tests/tools/install.sh [TOOL ...]     all of them, or only those named
#
# Already present and of the pinned version: nothing happens. An interrupted run
# goes on where it stopped, since a tool is moved into place only when it is whole.
set -euo pipefail

KUBERNETES=1.36.3   # with kubernetes/go.mod
ETCD=3.7.3          # with etcd/go.mod
NGINX=1.22          # Debian 12; the first two numbers decide which directives exist
WRK=4.1             # Debian 12
CARGO_DENY=0.20.2

here=$(cd "$(dirname "$0")" && pwd)
cache=${KEYTURN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/keyturn}
bin=$cache/bin
mkdir -p "$bin" "$cache/tmp"

say() { printf '%s\n' "$*" >&2; }
die() { say "install.sh: $*"; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is missing; $2"; }

# Runs a long command with its output in a log, and says every ten seconds how long it has taken.
slowly() { # slowly WHAT COMMAND...
  local what=$1 log=$cache/tmp/install.log start=$SECONDS pid tick=0
  shift
  "$@" >"$log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    tick=$((tick + 1))
    [ $((tick % 10)) -ne 0 ] || say "    $what: $((SECONDS - start)) s"
  done
  wait "$pid" || { tail -n 30 "$log" >&2; die "$what failed; the end of its output is above"; }
}

# The pinned version must be what the tool itself says.
fits() { # fits TOOL
  local said
  [ -x "$bin/$1" ] || return 1
  case $1 in
    kube-apiserver | kube-controller-manager) said=$("$bin/$1" --version) && [ "$said" = "Kubernetes v$KUBERNETES" ] ;;
    kubectl) said=$("$bin/kubectl" version --client) && [[ $said == "Client Version: v$KUBERNETES"$'\n'* ]] ;;
    etcd) said=$("$bin/etcd" --version) && [[ $said == "etcd Version: $ETCD"$'\n'* ]] ;;
    nginx) said=$("$bin/nginx" -v 2>&1) && [[ $said == "nginx version: nginx/$NGINX."* ]] ;;
    wrk) said=$("$bin/wrk" -v 2>&1 || true) && [[ $said == "wrk "*"$WRK"* ]] ;;
    cargo-deny) said=$("$bin/cargo-deny" --version) && [ "$said" = "cargo-deny $CARGO_DENY" ] ;;
    *) die "unknown tool '$1'; known: ${all[*]}" ;;
  esac
}

go_build() { # go_build MODULE PACKAGE TOOL [LDFLAGS]
  need go "install Go 1.26 or later from https://go.dev/dl"
  slowly "building $3" env -C "$here/$1" CGO_ENABLED=0 go build -mod=readonly -trimpath \
    -ldflags "-s -w ${4:-}" -o "$cache/tmp/$3" "$2"
  mv "$cache/tmp/$3" "$bin/$3"
}

# Unpacks a Debian package without installing it: no service starts, nothing else on the machine changes.
debian() { # debian PACKAGE PATH-IN-PACKAGE TOOL
  need apt-get "bring $3 yourself and put it into $bin"
  local work=$cache/tmp/deb
  rm -rf "$work" && mkdir -p "$work"
  (cd "$work" && apt-get download "$1" >/dev/null 2>&1) || {
    slowly "apt-get update" apt-get update
    (cd "$work" && slowly "downloading $1" apt-get download "$1")
  }
  dpkg-deb -x "$work"/*.deb "$work/root"
  mv "$work/root/$2" "$bin/$3"
  local missing
  missing=$(ldd "$bin/$3" | awk '/not found/ {print $1}' | tr '\n' ' ')
  [ -z "$missing" ] || { rm "$bin/$3"; die "$3 needs libraries that are not here: $missing(apt-get install $1 brings them)"; }
}

install() {
  local stamp="-X k8s.io/component-base/version.gitVersion=v$KUBERNETES -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${KUBERNETES#*.}"
  stamp=${stamp%.*}
  case $1 in
    kube-apiserver | kube-controller-manager | kubectl) go_build kubernetes "k8s.io/kubernetes/cmd/$1" "$1" "$stamp" ;;
    etcd) go_build etcd go.etcd.io/etcd/server/v3 etcd ;;
    nginx) debian nginx usr/sbin/nginx nginx ;;
    wrk) debian wrk usr/bin/wrk wrk ;;
    cargo-deny)
      need cargo "install Rust from https://rustup.rs"
      slowly "building cargo-deny" cargo install --locked --quiet --version "$CARGO_DENY" --root "$cache/tmp/cargo-deny" cargo-deny
      mv "$cache/tmp/cargo-deny/bin/cargo-deny" "$bin/cargo-deny"
      ;;
  esac
}

all=(etcd kube-apiserver kube-controller-manager kubectl nginx wrk cargo-deny)
# Two builds at once would only overwrite each other's work.
exec 9>"$cache/tmp/install.lock"
flock -n 9 || { say "another install.sh is running; waiting for it"; flock 9; }

wanted=("${@:-${all[@]}}")
n=0
for tool in "${wanted[@]}"; do
  n=$((n + 1))
  if fits "$tool"; then continue; fi
  say "[$n/${#wanted[@]}] $tool"
  start=$SECONDS
  install "$tool"
  fits "$tool" || die "what was brought for $tool is not the version that this script pins"
  say "[$n/${#wanted[@]}] $tool: done in $((SECONDS - start)) s"
done
printf '%s\n' "$bin"
