#!/usr/bin/env bash
# Runs a command on a Kubernetes node of its own, with pods, and takes everything down again. Needs root and Linux.
#
#   tests/node/run.sh COMMAND [ARGUMENT ...]
#   tests/node/run.sh bash                      a shell to look around in
#
# etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd, kubelet and kube-proxy run in mount, network and
# process namespaces of their own, and so does COMMAND: it reaches Services by address and by name. Nothing listens outside, no
# packet leaves, and any number of runs stay out of each other's way. COMMAND gets KUBECONFIG of a cluster administrator
# and the pinned tools first in PATH; `ctr images import FILE.tar` gives an image to the node. Its exit status is passed on; it
# is 1 if anything should be left of the node.
set -euo pipefail

. "$(dirname "$0")/../cluster/lib.sh"
usage "$@"
[ "$(id -u)" = 0 ] || die "a node needs root: it makes namespaces, control groups and containers (sudo $0 ...)"
for tool in unshare setpriv ip sysctl openssl; do
  command -v "$tool" >/dev/null || die "$tool is missing; it is in the packages util-linux, iproute2, procps and openssl"
done
[ -d /sys/fs/cgroup ] || die "/sys/fs/cgroup is not mounted"
"$root/tests/tools/install.sh" etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl \
  coredns containerd runc bridge iptables buildah pause >/dev/null

# Where control groups are made: once in version 2, in every hierarchy of version 1.
hierarchies() {
  if [ -e /sys/fs/cgroup/cgroup.procs ]; then echo /sys/fs/cgroup; else printf '%s\n' /sys/fs/cgroup/*/; fi
}
# Removes the control groups of the node whose files are in FOLDER; 1 when some stay.
remove_groups() { # remove_groups FOLDER
  local group deadline=$((SECONDS + 20)) left=yes
  while [ -n "$left" ] && [ $SECONDS -lt $deadline ]; do
    left=
    for group in $(hierarchies); do
      group=${group%/}/${1##*/}
      [ -d "$group" ] || continue
      # In version 1, who is killed while frozen dies when thawed.
      find "$group" -name freezer.state -exec sh -c 'echo THAWED >"$1"' sh {} \;
      # Processes that were killed leave their group a moment later.
      find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || { left=$group && sleep 0.1; }
    done
  done
  [ -z "$left" ] || { say "control groups are left: $left"; return 1; }
}
clean_up() {
  remove_groups "$work" && rm -rf "$work" && say 'nothing is left of it'
}
what='its namespaces'

# What runs left that were killed outright: their processes died with them. A living one holds its lock.
for stale in "${TMPDIR:-/tmp}"/keyturn-node.*; do
  [ -d "$stale" ] || continue
  flock --nonblock --conflict-exit-code 75 "$stale" true || continue
  say "removing what an interrupted run has left in $stale"
  remove_groups "$stale" || true
  rm -rf "$stale"
done

# Locked before it goes by a name that another run looks at.
fresh=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-fresh-node.XXXXXX")
exec 8<"$fresh"
flock 8
begin "${fresh/fresh-/}"
mv "$fresh" "$work"
for group in $(hierarchies); do mkdir "${group%/}/${work##*/}"; done
# The parent-death signals take the whole node down even when this script is killed outright.
run_command setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc \
  "$root/tests/node/box.sh" "$work" "$@"
