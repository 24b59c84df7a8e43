# Faults of the API server, of etcd and of the node. Sourced by tests/faults.sh.
# shellcheck shell=bash

fault_api-server() {
  title 'The API server is away for two minutes'
  mint late
  local LATE
  LATE=$(secret late)
  load_begins "$BUSY" "$LEAKED"
  revoke late
  end_api_server
  tell 'for two minutes ...'
  sleep 120
  ask_with BUSY LEAKED
  expect '200 401' 'keys are what they were'
  ask_with LATE
  tell 'whether the API server had told verifiers of the last revocation is open until it is enforced'
  start_api_server
  enforcement late "$LATE"
  eventually 'an API server that takes keys' takes_keys
  mint after
  eventually 'a key that was minted afterwards' answers 200 "$(secret after)"
  recovered
  load_ends 'the API server is away for two minutes' 0
}

# What is undone later on: a snapshot is in $work/snapshot.db, the key NAME revoked since, and its string in SPARED.
snapshot_and_revoke() { # snapshot_and_revoke NAME
  mint "$1"
  SPARED=$(secret "$1")
  eventually 'a key that is let in' answers 200 "$SPARED"
  since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  snapshot "$work/snapshot.db"
  tell "a snapshot of $since; what comes now is undone later on"
  revoke "$1"
  enforcement "$1" "$SPARED"
}
revoke_again() { # revoke_again NAME
  eventually 'the key that was revoked after the snapshot' answers 200 "$SPARED"
  tell 'it is accepted again, as docs/operations/recovery.md says'
  revoke "$1"
  enforcement "$1" "$SPARED"
}
fault_etcd() {
  title 'etcd is restored from a snapshot, with a higher revision'
  local undone SPARED MINTED since
  load_begins "$BUSY" "$LEAKED"
  snapshot_and_revoke spared
  mint lost
  MINTED=$(secret lost)
  eventually 'a key that is let in' answers 200 "$MINTED"
  run 'kubectl -n keyturn-system logs -l app.kubernetes.io/component=controller --tail=-1 | "$program" doctor --since "$since"'
  for undone in 'Revoked            speech/spared' 'Minted             speech/lost'; do expect "$undone" "the audit log tells: $undone"; done
  restore "$work/snapshot.db" --bump-revision 1000000000 --mark-compacted
  eventually 'a refusal of the key that was minted after the snapshot' answers 401 "$MINTED"
  revoke_again spared
  recovered
  load_ends 'etcd is restored, with a higher revision' 1000
}
# Whatever watches the API server waits for versions that were there already, so all of it is restarted.
fault_etcd-plain() {
  title 'etcd is restored from a snapshot, without a higher revision'
  local server SPARED since
  load_begins "$BUSY" "$LEAKED"
  snapshot_and_revoke spared-too
  restore "$work/snapshot.db"
  for server in kubelet kube-proxy; do
    end_server "$server"
    start_server "$server"
  done
  run 'kubectl -n keyturn-system rollout restart deployment/keyturn-verifier deployment/keyturn-controller'
  recovered
  revoke_again spared-too
  load_ends 'etcd is restored without one, and everything restarted' 3000
}

fault_node() {
  title 'The node restarts'
  load_begins "$BUSY" "$LEAKED"
  end_node
  tell 'no process of the node or of a pod is left'
  start_node
  eventually 'an answer' answers 200 "$BUSY"
  recovered
  ask_with BUSY LEAKED
  expect '200 401' 'keys are what they were, by themselves'
  # As many as come while nobody can be let in.
  load_ends 'the node restarts' 1000000
}
