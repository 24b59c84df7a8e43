#!/usr/bin/env bash
# Runs a command against a Kubernetes API server of its own, and takes everything down again.
#
#   tests/cluster/run.sh COMMAND [ARGUMENT ...]
#   tests/cluster/run.sh bash                     a shell to look around in
#   CLUSTER=existing tests/cluster/run.sh COMMAND the current kubeconfig's cluster; only crds/ is applied
#
# etcd, kube-apiserver (RBAC on, owner references checked) and kube-controller-manager (garbage collection,
# namespaces, service accounts, aggregated roles) listen on free ports of 127.0.0.1 and keep their files in
# a temporary directory, so that any number of runs stay out of each other's way. COMMAND gets KUBECONFIG of
# a cluster administrator and the pinned tools first in PATH. Its exit status is passed on. There are no
# nodes: pods stay Pending.
set -euo pipefail

. "$(dirname "$0")/lib.sh"
usage "$@"

servers=(etcd kube-apiserver kube-controller-manager)
[ "${CLUSTER:-}" != existing ] || servers=()
bin=$("$root/tests/tools/install.sh" "${servers[@]}" etcdutl kubectl nginx wrk redis-server haproxy \
  traefik caddy envoy helm schemas.yaml)
export PATH="$bin:$PATH"

if [ "${CLUSTER:-}" = existing ]; then
  say "using $(kubectl config current-context) of the current kubeconfig"
  apply_crds
  exec "$@"
fi

begin "$(mktemp -d "${TMPDIR:-/tmp}/keyturn-cluster.XXXXXX")"
start_control_plane
say "ready after $(elapsed); KUBECONFIG=$KUBECONFIG"
run_command "$@"
