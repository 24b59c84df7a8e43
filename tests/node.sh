#!/usr/bin/env bash
# Checks that nodes of tests/node/run.sh stay out of each other's way and leave nothing behind, killed outright or not.
#
#   tests/node.sh          as root; `make e2e` does it first
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-nodes.XXXXXX")
# Its nodes are here, so that those of other runs are not counted.
export TMPDIR=$work/tmp
mkdir "$TMPDIR"
first=
down() {
  local status=$?
  [ -z "$first" ] || kill -KILL "$first" 2>/dev/null || true
  rm -rf "$work" || true
  exit "$status"
}
trap down EXIT
fail() {
  printf 'node: %s\n' "$*" >&2
  tail -n 30 "$work"/*.log >&2
  exit 1
}
ok() { printf 'node:   ok: %s\n' "$*" >&2; }

# What a node could change of the machine.
state() {
  echo "mounts: $(grep -c . /proc/self/mounts)"
  echo "links: $(ip -o link | awk '{print $2}' | sort | xargs)"
  echo "routes: $(ip route | sort | xargs)"
  echo "rules: $(iptables-save | grep -v '^#' | sort | xargs)"
  echo "folders: $(find /run /var/lib /var/log /etc/cni -maxdepth 1 2>/dev/null | sort | xargs)"
  echo "settings: $(sysctl -n vm.overcommit_memory kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys net.ipv4.ip_forward | xargs)"
  echo "control groups: $(groups_of_nodes)"
  echo "files: $(find "$TMPDIR" -mindepth 1 -maxdepth 1 | xargs)"
  echo "processes: $(processes | xargs)"
}
# Those of this run's nodes.
processes() { pgrep -f "$TMPDIR/keyturn-node" || true; }
groups_of_nodes() {
  grep -sho 'keyturn-node\.[A-Za-z0-9]*' "$work"/*.log | sort -u | while read -r name; do
    find /sys/fs/cgroup -maxdepth 2 -name "$name"
  done | xargs
}
PATH=$("$root/tests/tools/install.sh" iptables kubectl):$PATH

# Starts a node that stays, with its process in `first` and its name in `interrupted`.
stay() { # stay LOG COMMAND...
  "$root/tests/node/run.sh" "${@:2}" >"$work/$1.log" 2>&1 &
  first=$!
  for ((tick = 0; tick < 1200; tick++)); do
    ! grep -q 'names served' "$work/$1.log" || break
    kill -0 "$first" 2>/dev/null || fail "the node of $1.log did not start"
    sleep 0.1
  done
  interrupted=$(basename "$(find "$TMPDIR" -maxdepth 1 -name 'keyturn-node.*')")
}
# Until others can tell: whoever is of a node holds its lock.
kill_outright() {
  kill -KILL "$first"
  wait "$first" 2>/dev/null || true
  first=
  flock --timeout 20 "$TMPDIR/$interrupted" true || fail 'somebody of a node that was killed outright holds its lock'
}
no_processes() { # no_processes WHAT
  for ((tick = 0; tick < 200; tick++)); do
    [ -n "$(processes)" ] || return 0
    sleep 0.1
  done
  fail "$1: $(processes | xargs)"
}
cleared_up() { # cleared_up LOG
  grep -q "removing what an interrupted run has left in .*$interrupted" "$work/$1.log" || fail "the run of $1.log should clear up after $interrupted"
}

before=$(state)
mkfifo "$work/wait"
stay first cat "$work/wait"
status=0
"$root/tests/node/run.sh" bash -c 'kubectl get node/node -o name; kubectl -n kube-system get pods --no-headers; exit 7' \
  >"$work/second.out" 2>"$work/second.log" || status=$?
[ "$status" = 7 ] || fail "a second node beside the first should pass on status 7, not $status"
grep -q '^node/node$' "$work/second.out" && grep -q 'coredns.* 1/1 ' "$work/second.out" || fail 'the second node should have a pod that runs'
kill -0 "$first" 2>/dev/null || fail 'the first node should still be there'
ok 'two nodes at once; the status of a command is passed on'

kill_outright
no_processes 'processes of a node that was killed outright go on'
ok 'a node that is killed outright ends with all of its processes'
left=$interrupted
# shellcheck disable=SC2016 # for the inner shell
stay third bash -c 'ctr tasks list --quiet | xargs -n 1 ctr tasks pause && echo frozen; cat "$0"' "$work/wait"
interrupted=$left cleared_up third
ok 'the next one removes its files and control groups'

for ((tick = 0; tick < 200; tick++)); do
  ! grep -q '^frozen' "$work/third.log" || break
  sleep 0.1
done
grep -q '^frozen' "$work/third.log" || fail 'the containers of the third node should be frozen'
kill_outright
"$root/tests/node/run.sh" true >"$work/fourth.log" 2>&1 || fail 'a node should start after one that was killed with frozen containers'
cleared_up fourth
no_processes 'processes of frozen containers are left'
ok 'so it does where containers were frozen'

after=$(state)
[ "$before" = "$after" ] || { diff <(echo "$before") <(echo "$after") >&2 || true; fail 'something is left of the nodes (> above)'; }
ok 'nothing is left: mounts, links, routes, rules, folders, settings, control groups, files, processes'
