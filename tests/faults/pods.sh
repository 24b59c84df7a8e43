# Faults of pods. Sourced by tests/faults.sh.
# shellcheck shell=bash

pods() { # pods COMPONENT: names of those that are not about to end
  kubectl -n keyturn-system get pods -l "app.kubernetes.io/component=$1" \
    -o go-template='{{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}{{"\n"}}{{end}}{{end}}'
}
# Every pod is there that should be, is ready, and no other is left.
recovered() {
  local part
  for part in controller verifier; do
    kubectl -n keyturn-system rollout status "deployment/keyturn-$part" --timeout=90s >/dev/null || fail "every $part should be ready again"
  done
  eventually 'the end of the old pods' settled
}
restarts() { # restarts POD
  kubectl -n keyturn-system get pod "$1" -o jsonpath='{.status.containerStatuses[0].restartCount}'
}

fault_crash() {
  title 'A verifier is killed (kill -9)'
  local pod before
  read -r pod < <(pods verifier)
  before=$(restarts "$pod")
  load_begins "$BUSY" "$LEAKED"
  cut_off "$(process_of "$pod")"
  restarted() { [ "$(restarts "$pod")" -gt "$before" ]; }
  eventually 'a restart' restarted
  recovered
  # Nobody can know that it is gone before its Lease has run out.
  mint uncertain
  local UNCERTAIN
  UNCERTAIN=$(secret uncertain)
  revoke uncertain
  eventually 'a refusal' answers 401 "$UNCERTAIN"
  run "kubectl wait apikey/uncertain --for=jsonpath='{.status.conditions[?(@.type==\"Enforced\")].reason}'=WaitingForVerifiers --timeout=60s"
  [ "$status" -eq 0 ] || fail 'what the verifier that was killed may have let in should not be said to be enforced'
  run "kubectl get apikey uncertain -o jsonpath='{.status.conditions[?(@.type==\"Enforced\")].message}'"
  expect "$pod" 'a revocation is not said to be enforced, but to wait for it'
  load_ends 'a verifier is killed (kill -9)' 100
}
fault_delete() {
  title 'A verifier pod is deleted without grace'
  local pod
  read -r pod < <(pods verifier)
  load_begins "$BUSY" "$LEAKED"
  run "kubectl -n keyturn-system delete pod $pod --grace-period=0 --force"
  replaced() { [[ $(pods verifier | wc -l) = 2 && $(pods verifier) != *"$pod"* ]]; }
  eventually 'a pod in its place' replaced
  recovered
  load_ends 'a verifier pod is deleted without grace' 100
}

evict() { # evict POD
  run "kubectl create --raw /api/v1/namespaces/keyturn-system/pods/$1/eviction -f - <<<'{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"$1\",\"namespace\":\"keyturn-system\"}}'"
}
fault_evict() {
  title 'Verifier pods are evicted, as by kubectl drain'
  local all
  mapfile -t all < <(pods verifier)
  load_begins "$BUSY" "$LEAKED"
  evict "${all[0]}"
  [ "$status" -eq 0 ] || fail 'one of two may be evicted'
  evict "${all[1]}"
  expect_refused "pod's disruption budget" 'the second has to wait for the first'
  recovered
  evict "${all[1]}"
  [ "$status" -eq 0 ] || fail 'the second may be evicted when another is ready'
  recovered
  load_ends 'both verifier pods are evicted' 0
}
fault_roll() {
  title 'Verifiers and controllers are rolled'
  load_begins "$BUSY" "$LEAKED"
  run 'kubectl -n keyturn-system rollout restart deployment/keyturn-verifier deployment/keyturn-controller'
  recovered
  load_ends 'verifiers and controllers are rolled' 0
}

# The rollout stands still at the pod that does not become ready.
fault_clock() {
  title 'The clock of a verifier is five minutes ahead'
  import keyturn-deceived "$program" libfaketime.so.1
  load_begins "$BUSY" "$LEAKED"
  local patch='{"spec":{"template":{"spec":{"containers":[{"name":"verifier","image":"localhost/keyturn-deceived:1",'
  patch+='"env":[{"name":"FAKETIME","value":"+300"},{"name":"FAKETIME_DONT_FAKE_MONOTONIC","value":"1"}]}]}}}}'
  run "kubectl -n keyturn-system patch deployment keyturn-verifier -p '$patch'"
  local expected=" ahead of the API server's, and --max-clock-skew is 5 s: set it right, for expiry and grace are judged by it"
  deceived() {
    address=$(kubectl -n keyturn-system get pods -o jsonpath='{.items[?(@.spec.containers[0].image=="localhost/keyturn-deceived:1")].status.podIP}')
    [ "$(curl -s "http://$address:8081/readyz" | grep -e '^- ' | sed 's/ at least [0-9.]* s//')" = "- the clock is$expected" ]
  }
  eventually 'a verifier that lacks nothing but the right time' deceived
  run 'curl -s "http://$address:8081/readyz"'
  expect 'and --max-clock-skew is 5 s' 'it is not ready'
  run "kubectl -n keyturn-system get endpointslices -l kubernetes.io/service-name=keyturn-verifier -o jsonpath='{range .items[*].endpoints[*]}{.addresses[0]} {.conditions.ready}{\"\\n\"}{end}'"
  expect "$address false" 'nothing is sent to it'
  load_goes_on
  run 'curl -s "http://$address:8081/metrics" | grep -e "^keyturn_clock_skew_seconds" -e "^keyturn_verdicts_total"'
  expect 'keyturn_clock_skew_seconds' 'its metrics tell by how much'
  ! grep -q 'keyturn_verdicts_total' "$out" || fail 'it has judged requests'
  ok 'and it has judged nothing'
  run 'kubectl -n keyturn-system rollout undo deployment/keyturn-verifier'
  recovered
  load_ends 'the clock of a verifier is five minutes ahead' 0
}
