#!/usr/bin/env bash
# Checks tests/kind/run.sh as far as that goes without a Docker daemon: that it says what is missing, that kind takes its settings,
# and what it asks of kind and Docker.
#
#   tests/kind.sh          as root; `make e2e-kind` does it first
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-kind-test.XXXXXX")
down() {
  [ ! -f "$work/node.pid" ] || kill "$(<"$work/node.pid")" 2>/dev/null || true
  rm -rf "$work"
}
trap down EXIT
fail() {
  printf 'kind: %s\n' "$*" >&2
  tail -n 30 "$work"/*.log >&2
  exit 1
}
ok() { printf 'kind:   ok: %s\n' "$*" >&2; }
bin=$("$root/tests/tools/install.sh" kind kubectl)

# Docker, of which the daemon is as the file `daemon` says; it writes down what it is asked.
mkdir -p "$work/path" "$work/cache/bin"
cat >"$work/path/docker" <<'SH'
#!/usr/bin/env bash
work=$(dirname "$0")/..
[ "$1" = -v ] || echo "docker $*" >>"$work/asked.log"
case "$(<"$work/daemon") $1" in
  'away '*) echo 'Cannot connect to the Docker daemon' >&2; exit 1 ;;
  *' info') echo '{"SecurityOptions": ["name=cgroupns"], "CgroupVersion": "2", "CgroupDriver": "systemd"}' ;;
  *' version') echo 28.2.2 ;;
  *' inspect') [ "$2" != --format ] || cat "$work/node.pid" ;;
  *' run') exit 1 ;;
esac
SH
# kind and kubectl, which write down the same. The node is a process with a network and a name.
cat >"$work/path/tool" <<'SH'
#!/usr/bin/env bash
work=$(dirname "$0")/../..
case "${0##*/} $*" in
  'kind --version') echo "kind version $KIND"; exit ;;
  'kubectl version --client') echo "Client Version: v$KUBERNETES"; exit ;;
  'kind create cluster --name '*)
    unshare --net --uts bash -c 'echo "$0-control-plane" >/proc/sys/kernel/hostname; exec sleep 600' "$4" &
    echo $! >"$work/node.pid"
    until [ "$(nsenter --target $! --uts uname -n)" = "$4-control-plane" ]; do sleep 0.05; done
    ;;
esac
echo "${0##*/} $*" >>"$work/asked.log"
SH
chmod +x "$work"/path/*
export PATH="$work/path:$PATH" TMPDIR=$work

echo away >"$work/daemon"
! "$root/tests/kind/run.sh" true >"$work/away.log" 2>&1 || fail 'a command should not run without a Docker daemon'
grep -q 'no Docker daemon answers (Cannot connect to the Docker daemon): start it, or, without Docker, use tests/node/run.sh' \
  "$work/away.log" || fail 'without a Docker daemon it should say so, and what to do'
ok 'without a Docker daemon it says so'

echo there >"$work/daemon"
! "$bin/kind" create cluster --name keyturn-test --config "$root/tests/kind/cluster.yaml" --kubeconfig "$work/kubeconfig" \
  >"$work/create.log" 2>&1 || fail 'there should be no node without Docker'
grep -q '^docker run --name keyturn-test-control-plane .*:6443/TCP .*kindest/node:' "$work/asked.log" ||
  fail 'kind should ask Docker for the node that cluster.yaml describes'
ok 'kind takes the settings, and asks Docker for the node'

rm "$work/asked.log"
for tool in kind kubectl; do ln -s "$work/path/tool" "$work/cache/bin/$tool"; done
pinned() { sed -n "s/^$1=\([^ ]*\).*/\1/p" "$root/tests/tools/install.sh"; }
status=0
# shellcheck disable=SC2016 # for the inner shell
KIND=$(pinned KIND) KUBERNETES=$(pinned KUBERNETES) KEYTURN_CACHE=$work/cache "$root/tests/kind/run.sh" bash -c '
  ctr images import image.tar && ctr images tag one two
  cat /etc/nsswitch.conf
  grep nameserver /etc/resolv.conf
  [ "$(readlink /proc/self/ns/net)" != "$(readlink "/proc/$(<"$0")/ns/net")" ] || echo "in the network of the node"
  exit 3' "$work/node.pid" >"$work/run.log" 2>&1 || status=$?
[ "$status" = 3 ] || fail "the status of the command is 3, not $status"
for line in 'hosts: files dns' 'nameserver 10.96.0.10' 'in the network of the node'; do
  grep -qx "$line" "$work/run.log" || fail "the command should find '$line'"
done
name=$(sed -n 's/^kind delete cluster --name //p' "$work/asked.log")
diff - "$work/asked.log" >"$work/difference.log" <<EOF || fail 'kind and Docker should be asked just this'
docker version --format {{.Server.Version}}
kind create cluster --name $name --config $root/tests/kind/cluster.yaml --wait 120s
kubectl -n kube-system rollout status deployment/coredns --timeout=120s
kubectl config set-cluster kind-$name --server=https://127.0.0.1:6443
docker inspect --format {{.State.Pid}} $name-control-plane
kind load image-archive image.tar --name $name
docker exec $name-control-plane ctr --namespace k8s.io images tag one two
kind delete cluster --name $name
EOF
[ -z "$(find "$work" -name 'keyturn-kind.*')" ] || fail 'no file of the run should be left'
ok 'the command is on the node, the node gets its images, and nothing is left'
