# What runs of a cluster of processes have in common; sourced by tests/cluster/run.sh and tests/node/*.sh.
# shellcheck shell=bash

# What they differ in.
address=127.0.0.1 # where the API server listens
what='the cluster' # what ends with the command
server_names=     # more names in its certificate, as openssl spells them
crds=yes          # whether it has our kinds from the beginning
# More options: of one that takes a single value the last counts, lists are added up.
apiserver_options=()
controller_options=()

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
say() { printf 'cluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
elapsed() { echo "$(((${EPOCHREALTIME/./} - started) / 100000 * 100)) ms"; }

# Prints what the script says about itself, if that is what it was called for.
usage() { # usage ARGUMENT...
  case ${1:-} in
    '' | -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit $((${#} == 0)) ;;
  esac
}

pids=()
command=
# Takes away what stays when all processes have ended.
clean_up() { rm -rf "$work"; }
down() {
  local status=$?
  trap '' INT TERM HUP
  # The group: whatever the command has left running goes too.
  [ -z "$command" ] || kill -KILL -- "-$command" 2>/dev/null || true
  [ ${#pids[@]} -eq 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  clean_up || status=1
  exit "$status"
}
# Hands a signal on and gives the command ten seconds to end by itself.
stop() { # stop SIGNAL STATUS
  local tick
  if [ -n "$command" ] && kill "-$1" -- "-$command" 2>/dev/null; then
    for ((tick = 0; tick < 100; tick++)); do
      kill -0 "$command" 2>/dev/null || break
      sleep 0.1
    done
  fi
  exit "$2"
}
# From here on the end of the script, whatever its cause, ends all that it has started.
begin() { # begin FOLDER: where all files go
  work=$1
  pki=$work/pki
  started=${EPOCHREALTIME/./}
  # Every background job gets a process group, so that Ctrl-C reaches the command before its cluster is gone.
  set -m
  trap down EXIT
  trap 'stop INT 130' INT
  trap 'stop TERM 143' TERM
  trap 'stop HUP 129' HUP
}

# Custom resources come before the controller manager: its garbage collector learns of kinds that arrive
# later only after half a minute.
apply_crds() {
  compgen -G "$root/crds/*.yaml" >/dev/null || return 0
  kubectl apply --server-side --force-conflicts -f "$root/crds" >/dev/null
  kubectl wait --for=condition=Established --timeout=60s -f "$root/crds" >/dev/null
}

certificate() { # certificate NAME SUBJECT [EXTENSION]
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" \
    -keyout "$pki/$1.key" -out "$pki/$1.csr" 2>/dev/null
  openssl x509 -req -days 30 -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -set_serial "0x$RANDOM$RANDOM" \
    -extfile <(printf '%s\n' "${3:-extendedKeyUsage=clientAuth}") -out "$pki/$1.crt" 2>/dev/null
}
make_certificates() {
  mkdir "$pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=keyturn-test-ca \
    -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
  certificate server /CN=kube-apiserver "subjectAltName=IP:$address,DNS:localhost${server_names:+,$server_names}"
  certificate admin /O=system:masters/CN=keyturn-tests
  certificate controller-manager /CN=system:kube-controller-manager
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$pki/service-account.key" 2>/dev/null
  chmod 600 "$pki"/*.key
}

kubeconfig() { # kubeconfig NAME: prints one that logs in with the certificate of that name
  cat <<YAML
apiVersion: v1
kind: Config
current-context: keyturn-test
contexts: [{name: keyturn-test, context: {cluster: keyturn-test, user: $1}}]
clusters: [{name: keyturn-test, cluster: {server: "https://$address:$api_port", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}}]
YAML
}

# Below the range from which the kernel gives ports to outgoing connections.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { printf '%s' "$port"; return; }
  done
}

# The parent-death signal takes a server down even when this script is killed outright. Process id and command line
# stay in files, for a test that takes a server away and brings it back.
server() { # server NAME ARGUMENT...
  local name=$1
  shift
  setpriv --pdeathsig KILL "$name" "$@" >"$work/$name.log" 2>&1 &
  pids+=("$!")
  printf '%s' "$!" >"$work/$name.pid"
  printf '%s\0' "$@" >"$work/$name.arguments"
}

# Waits until COMMAND succeeds; 1 when the server started last has ended instead.
until_ready() { # until_ready COMMAND...
  local pid=${pids[-1]} deadline=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || return 1
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.05
  done
}

start_etcd() {
  local client peer
  client=$(free_port)
  peer=$(free_port)
  etcd_url=http://127.0.0.1:$client
  # Nothing in it outlives the run, so nothing need reach the disk.
  server etcd --data-dir "$work/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "$etcd_url" --advertise-client-urls "$etcd_url" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "default=http://127.0.0.1:$peer"
  until_ready curl -fsS "$etcd_url/health"
}
start_apiserver() {
  api_port=$(free_port)
  kubeconfig admin >"$work/admin.kubeconfig"
  export KUBECONFIG=$work/admin.kubeconfig
  server kube-apiserver --etcd-servers="$etcd_url" --bind-address="$address" --secure-port="$api_port" \
    --advertise-address="$address" --endpoint-reconciler-type=none --authorization-mode=RBAC \
    --enable-admission-plugins=OwnerReferencesPermissionEnforcement \
    --cert-dir="$work/apiserver" --client-ca-file="$pki/ca.crt" \
    --tls-cert-file="$pki/server.crt" --tls-private-key-file="$pki/server.key" \
    --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=10.96.0.0/16 \
    --service-account-key-file="$pki/service-account.key" --service-account-signing-key-file="$pki/service-account.key" \
    --max-requests-inflight=4000 --max-mutating-requests-inflight=2000 "${apiserver_options[@]}"
  until_ready kubectl get --raw /readyz
}
start_controller_manager() {
  local port config=$work/controller-manager.kubeconfig
  port=$(free_port)
  kubeconfig controller-manager >"$config"
  # Only what a test can see: owner references, deleted namespaces, service accounts, aggregated roles.
  server kube-controller-manager --kubeconfig="$config" --authentication-kubeconfig="$config" \
    --authorization-kubeconfig="$config" --bind-address=127.0.0.1 --secure-port="$port" --leader-elect=false \
    --cert-dir="$work/controller-manager" --use-service-account-credentials \
    --service-account-private-key-file="$pki/service-account.key" --root-ca-file="$pki/ca.crt" \
    --controllers=clusterrole-aggregation-controller,garbage-collector-controller,namespace-controller,serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller \
    --kube-api-qps=500 --kube-api-burst=1000 "${controller_options[@]}"
  until_ready curl -fsS --cacert "$work/controller-manager/kube-controller-manager.crt" --resolve "localhost:$port:127.0.0.1" \
    "https://localhost:$port/healthz"
}

# Another process can take a port between the look and the use: then the server ends at once, and other
# ports are tried. Anything else is reported with the end of the server's own log.
with_retry() { # with_retry START-FUNCTION SERVER
  local attempt
  for attempt in 1 2 3 4 5; do
    "$1" && return
    kill -KILL "${pids[-1]}" 2>/dev/null || true
    unset 'pids[-1]'
    grep -q 'address already in use' "$work/$2.log" || break
    say "$2: its port was taken meanwhile; attempt $((attempt + 1))"
  done
  tail -n 20 "$work/$2.log" >&2
  die "$2 did not become ready; the end of its log is above"
}

# etcd, API server, our kinds, controller manager.
start_control_plane() {
  local certificates
  say "starting in $work"
  make_certificates &
  certificates=$!
  with_retry start_etcd etcd
  wait "$certificates" || die "openssl could not make the certificates"
  with_retry start_apiserver kube-apiserver
  [ -z "$crds" ] || apply_crds
  with_retry start_controller_manager kube-controller-manager
  kubectl wait --for=create serviceaccount/default --timeout=30s >/dev/null
}

# Runs the command that all this is for, and ends with its status.
run_command() { # run_command COMMAND...
  local status=0
  "$@" <&0 &
  command=$!
  if [ -t 0 ]; then
    fg %% >/dev/null || status=$?
  else
    wait "$command" || status=$?
  fi
  say "command ended with status $status; taking $what down"
  exit "$status"
}
