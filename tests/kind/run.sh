#!/usr/bin/env bash
# Runs a command on a Kubernetes node that kind makes in Docker, and takes it down again. Needs root, Linux and a Docker daemon of
# this machine; tests/node/run.sh is the same without Docker.
#
#   tests/kind/run.sh COMMAND [ARGUMENT ...]
#   tests/kind/run.sh bash                      a shell to look around in
#
# COMMAND can't tell it from a node of tests/node/run.sh: it is in the node's network and reaches Services by address and by name; it
# gets KUBECONFIG of a cluster administrator and the pinned tools first in PATH; `ctr images import FILE.tar` gives an image to the
# node. Its exit status is passed on. Any number of runs stay out of each other's way.
set -euo pipefail

. "$(dirname "$0")/../cluster/lib.sh"
usage "$@"
[ "$(id -u)" = 0 ] || die "root is needed to get into the network of the node (sudo $0 ...)"
for tool in docker nsenter unshare mount; do
  command -v "$tool" >/dev/null || die "$tool is missing; without Docker, tests/node/run.sh is the same"
done
# kind itself would show a page of JSON, with the cause in its last line.
told=$(docker version --format '{{.Server.Version}}' 2>&1) ||
  die "no Docker daemon answers (${told##*$'\n'}): start it, or, without Docker, use tests/node/run.sh"
bin=$("$root/tests/tools/install.sh" kind kubectl)
export PATH="$root/tests/kind/bin:$bin:$PATH"

begin "$(mktemp -d "${TMPDIR:-/tmp}/keyturn-kind.XXXXXX")"
what='the node'
# Names of containers are in lower case.
name=keyturn-${work##*.}
name=${name,,}
export KEYTURN_NODE=$name-control-plane KUBECONFIG=$work/kubeconfig
clean_up() {
  kind delete cluster --name "$name"
  rm -rf "$work"
}

say "kind makes a node; the first time it downloads the node's image"
kind create cluster --name "$name" --config "$root/tests/kind/cluster.yaml" --wait 120s
kubectl -n kube-system rollout status deployment/coredns --timeout=120s >/dev/null
# From here on as seen from the node, not from outside of Docker.
kubectl config set-cluster "kind-$name" --server=https://127.0.0.1:6443 >/dev/null
pid=$(docker inspect --format '{{.State.Pid}}' "$KEYTURN_NODE")
[ "$(nsenter --target "$pid" --uts uname -n 2>/dev/null)" = "$KEYTURN_NODE" ] ||
  die "the node is no process of this machine: its Docker daemon is on another one, or in a virtual machine"
# The command looks names up as pods do, whatever this machine has put before DNS.
printf 'search svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n' >"$work/resolv.conf"
printf 'hosts: files dns\n' >"$work/nsswitch.conf"
say "ready after $(elapsed); KUBECONFIG=$KUBECONFIG"
# shellcheck disable=SC2016 # for the inner shell
run_command nsenter --net="/proc/$pid/ns/net" unshare --mount bash -c '
  for file in resolv.conf nsswitch.conf; do mount --bind "$0/$file" "/etc/$file"; done
  exec "$@"' "$work" "$@"
