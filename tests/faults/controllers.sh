# Faults of controllers, and of what they look after. Sourced by tests/faults.sh.
# shellcheck shell=bash

leader() { # the pod that leads: its name, a dash and a word of its own is what the Lease says
  local holder
  holder=$(kubectl -n keyturn-system get lease keyturn-controller -o jsonpath='{.spec.holderIdentity}')
  echo "${holder%-*}"
}
versions() { # versions FIELD: of the key busy, newest first
  kubectl get apikey busy -o jsonpath="{.status.versions[*].$1}"
}

fault_lead() {
  title 'The controller that leads is killed in the middle of a rotation'
  local before process staged _
  OLD=$(secret busy)
  before=$(versions number)
  process=$(process_of "$(leader)")
  load_begins "$OLD" "$LEAKED"
  # The new string is in a Secret of its own first, where nobody looks but the controller.
  exec {staged}< <(kubectl get secrets -l keyturn.dev/staged -w -o name 2>/dev/null)
  request_rotation lead 30s
  read -r -t 60 -u "$staged" _ || fail 'the rotation should begin'
  cut_off "$process"
  exec {staged}<&-
  ! changed || fail 'the rotation was over already'
  tell "killed with versions $(versions number): $(versions state)"
  rotation_begins
  [ "$(versions number)" = "$((${before%% *} + 1)) $before" ] || fail "one version should be new: $(versions number) after $before"
  ok 'exactly one string is new'
  load_ends 'the leader is killed in the middle of a rotation' 0
  rotation_ends 30s
  BUSY=$NEW
  recovered
}

fault_secrets() {
  title 'The Secrets of 50 keys are deleted'
  local name names=(ci-{1..50})
  mint "${names[@]}"
  local OLD NEW
  OLD=$(secret ci-7)
  load_begins "$BUSY" "$LEAKED"
  run "kubectl delete secret ${names[*]} --wait=false"
  [ "$status" -eq 0 ] || fail 'the Secrets should be deleted'
  for name in "${names[@]}"; do eventually "the Secret of $name" kubectl get secret "$name"; done
  NEW=$(secret ci-7)
  [ "$NEW" != "$OLD" ] || fail 'a string that was deleted should not come back'
  ask_with OLD NEW
  expect '200 200' 'each has a new string, and the old one through its grace'
  for name in "${names[@]}"; do eventually "an answer for $name" answers 200 "$(secret "$name")"; done
  ok 'every new string is accepted'
  ! kubectl get secret leaked >/dev/null 2>&1 || fail 'a key that is revoked should get no Secret'
  load_ends 'the Secrets of 50 keys are deleted' 0
}
