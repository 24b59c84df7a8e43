#!/usr/bin/env bash
# The first process of a node's namespaces: starts everything that makes up the node, then the command. For tests/node/run.sh.
#
#   tests/node/box.sh FOLDER COMMAND [ARGUMENT ...]
set -euo pipefail

. "$(dirname "$0")/../cluster/lib.sh"
usage "$@"
here=$root/tests/node
cache=$("$root/tests/tools/install.sh" kubelet)
cache=${cache%/bin}
export PATH="$cache/bin:$PATH" XTABLES_LIBDIR=$cache/xtables
# Files are in use until this process has ended, and with it all others here.
clean_up() { :; }
begin "$1"
shift

# Folders of the machine that daemons of a node write to are covered by empty ones. Settings of the kernel outside of the
# network's are the whole machine's: the kubelet sets copies of those that it insists on.
private_files() {
  local folder setting
  # Without --no-mtab the first of them would keep a file of its own in the machine's /run.
  mount --no-mtab --make-rshared /
  for folder in /run /var/lib /var/log; do mount --no-mtab -t tmpfs tmpfs "$folder"; done
  mkdir -p /run/netns "$work"/{kubelet,containerd,cni,settings,volume-plugins}
  mount --bind /proc/sys /proc/sys
  mount --bind /proc/sys/net /proc/sys/net
  mount -o remount,bind,ro /proc/sys
  for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    cat "/proc/sys/$setting" >"$work/settings/${setting##*/}"
    mount --bind "$work/settings/${setting##*/}" "/proc/sys/$setting"
  done
  printf '127.0.0.1 localhost\n%s node\n' "$address" >"$work/hosts"
  mount --bind "$work/hosts" /etc/hosts
  # The command looks names up as pods do; pods that look names up elsewhere find nobody.
  printf 'search svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n' >"$work/resolv.conf"
  mount --bind "$work/resolv.conf" /etc/resolv.conf
  printf 'nameserver 127.0.0.1\n' >"$work/no-resolv.conf"
}
# A link with two ends, both here: there is a way to Services and to no other machine.
private_network() {
  ip link set lo up
  ip link add eth0 type veth peer name far
  ip addr add "$address/24" dev eth0
  ip link set eth0 up
  ip link set far up
  ip route add default dev eth0
  sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
}

# Fills the settings of the run into a file of this folder.
settings() { # settings FILE
  sed "s|@WORK@|$work|g; s|@BIN@|$cache/bin|g; s|@ADDRESS@|$address|g; s|@GROUP@|${work##*/}|g" "$here/$1" >"$work/$1"
}
login() { # login NAME SUBJECT [EXTENSION]
  certificate "$@"
  kubeconfig "$1" >"$work/$1.kubeconfig"
}
start_containerd() {
  server containerd --config "$work/containerd.toml"
  until_ready ctr version
}
start_scheduler() {
  local config=$work/scheduler.kubeconfig
  login scheduler /CN=system:kube-scheduler
  server kube-scheduler --kubeconfig "$config" --authentication-kubeconfig "$config" --authorization-kubeconfig "$config" \
    --leader-elect=false --bind-address 127.0.0.1
}
start_kubelet() {
  server kubelet --config "$work/kubelet.yaml" --kubeconfig "$work/node.kubeconfig" --hostname-override node \
    --root-dir "$work/kubelet" --node-ip "$address"
  until_ready kubectl wait --for=condition=Ready node/node --timeout=1s
}
start_proxy() {
  login proxy /CN=system:kube-proxy
  server kube-proxy --config "$work/kube-proxy.yaml" --hostname-override node
  until_ready curl -fsS http://127.0.0.1:10256/healthz
}
start_names() {
  local tool
  for tool in pause coredns; do
    "$here/image.sh" "$work/$tool.tar" "localhost/$tool:1" "$tool"
    ctr images import "$work/$tool.tar" >/dev/null
  done
  kubectl apply -f "$here/coredns.yaml" >/dev/null
  kubectl -n kube-system rollout status deployment/coredns --timeout=90s >/dev/null
  until_ready getent hosts kubernetes.default
}

address=10.88.1.2
server_names=IP:10.96.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
# The chart brings our kinds.
crds=
private_files
private_network
apiserver_options=(--authorization-mode=Node --enable-admission-plugins=NodeRestriction --endpoint-reconciler-type=lease
  --allow-privileged --kubelet-preferred-address-types=InternalIP --kubelet-certificate-authority="$pki/ca.crt"
  --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key")
controller_options=('--controllers=*')
# So that ctr talks to this containerd, about images for pods.
export KEYTURN_NODE=node CONTAINERD_ADDRESS=$work/containerd.sock CONTAINERD_NAMESPACE=k8s.io

start_control_plane
say "API server ready after $(elapsed)"
login node /O=system:nodes/CN=system:node:node "$(printf 'extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=DNS:node,IP:%s' "$address")"
for file in containerd.toml cni.conflist kubelet.yaml kube-proxy.yaml; do settings "$file"; done
mv "$work/cni.conflist" "$work/cni/"
with_retry start_containerd containerd
start_scheduler
with_retry start_kubelet kubelet
say "node ready after $(elapsed)"
with_retry start_proxy kube-proxy
start_names || die "the name server did not become ready"
say "names served after $(elapsed); KUBECONFIG=$KUBECONFIG"
# Not in a group of its own: to a terminal, groups in here have no number. Nothing has to be ended but this process.
set +m
status=0
"$@" || status=$?
exit "$status"
