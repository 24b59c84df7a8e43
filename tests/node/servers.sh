# Takes servers of a node away and brings them back, from within tests/node/run.sh: process ids and arguments are in files that
# tests/cluster/lib.sh writes beside the kubeconfig. Sourced.
# shellcheck shell=bash
node=$(dirname "$KUBECONFIG")

# Ends processes as a power cut does, and waits until they are gone.
cut_off() { # cut_off PID...
  local pid tick
  [[ "$*" =~ ^[0-9]+([[:space:]]+[0-9]+)*$ ]] || fail "these are not processes to end: '$*'"
  # One of them may end another.
  kill -KILL "$@" 2>/dev/null || true
  for pid in "$@"; do
    for ((tick = 0; tick < 200; tick++)); do
      kill -0 "$pid" 2>/dev/null || continue 2
      sleep 0.05
    done
    fail "process $pid does not end"
  done
}
end_server() { # end_server NAME...
  local name
  for name in "$@"; do cut_off "$(<"$node/$name.pid")"; done
}
start_server() { # start_server NAME: with the arguments that it had
  local arguments
  mapfile -d '' -t arguments <"$node/$1.arguments"
  setpriv --pdeathsig KILL "$1" "${arguments[@]}" >>"$node/$1.log" 2>&1 &
  printf '%s' "$!" >"$node/$1.pid"
  # Nobody need be told when it is ended.
  disown
}
# What was given for an option, as `--option value`.
option() { # option NAME OPTION
  tr '\0' '\n' <"$node/$1.arguments" | grep -xA1 -e "$2" | tail -n 1
}

# The others end with it, as they do everywhere when they cannot renew their Lease any more. One that went on would take all nodes
# for lost in the first seconds afterwards, since it has heard of none.
end_api_server() { end_server kube-apiserver kube-controller-manager kube-scheduler; }
# It waits for etcd by itself.
start_api_server() {
  start_server kube-apiserver
  eventually 'the API server' kubectl get --raw /readyz
  start_server kube-controller-manager
  start_server kube-scheduler
}

# Fills FILE with what etcd holds now.
snapshot() { # snapshot FILE
  curl -fsS -X POST "$(option etcd --listen-client-urls)/v3/maintenance/snapshot" | grep -o '"blob":"[^"]*"' | cut -d'"' -f4 |
    while read -r piece; do base64 -d <<<"$piece"; done >"$1"
}
# Ends API server and etcd, and starts both again with what FILE holds.
restore() { # restore FILE [OPTION-OF-ETCDUTL ...]
  local folder
  folder=$(mktemp -d "$node/etcd.XXXXXX")
  end_api_server
  end_server etcd
  etcdutl snapshot restore "$1" --data-dir "$folder/data" --initial-cluster "$(option etcd --initial-cluster)" \
    --initial-advertise-peer-urls "$(option etcd --initial-advertise-peer-urls)" "${@:2}" >"$folder/log" 2>&1 ||
    { cat "$folder/log" >&2; fail 'etcd could not be restored'; }
  sed -z -i "s|^$(option etcd --data-dir)\$|$folder/data|" "$node/etcd.arguments"
  start_server etcd
  start_api_server
}

# The process of a pod's container.
process_of() { # process_of POD
  local id
  id=$(kubectl -n keyturn-system get pod "$1" -o jsonpath='{.status.containerStatuses[0].containerID}')
  ctr tasks ls | awk -v id="${id#containerd://}" '$1 == id { print $2 }'
}
# Ends all processes of all pods, and the node's own. What is not on the node, the API server and etcd, goes on.
end_node() {
  local processes
  # The process of a container is a child of its shim.
  processes=$(ps -o pid= -o ppid= -p "$(ctr tasks ls | awk 'NR > 1 { print $2 }' | paste -sd,)")
  end_server kubelet kube-proxy containerd
  # shellcheck disable=SC2086 # numbers
  cut_off $processes
}
start_node() {
  start_server containerd
  eventually 'containerd' ctr version
  start_server kubelet
  start_server kube-proxy
}
