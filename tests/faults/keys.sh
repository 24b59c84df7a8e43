# Keys for faults, and what verifiers and status say of them. Sourced by tests/faults.sh.
# shellcheck shell=bash

mint() { # mint NAME...: keys of the API transcripts
  local name
  for name in "$@"; do
    printf -- '---\n{apiVersion: keyturn.dev/v1alpha1, kind: ApiKey, metadata: {name: %s},\n' "$name"
    printf 'spec: {apiRef: {name: transcripts}, scopes: ["transcripts:read"],\n'
    printf 'rateLimits: [{name: requests, limit: 1000000, window: 1s, autoApply: true}]}}\n'
  done | kubectl apply -f - >/dev/null
  kubectl wait apikey "$@" --for=condition=Ready --timeout=60s >/dev/null || fail "the keys should become ready: $*"
}
# An API server that has just started does not know custom kinds yet, and its admission refuses them.
takes_keys() { kubectl patch apikey busy --dry-run=server --type=merge -p '{"spec":{"displayName":"busy"}}'; }
revoke() { # revoke NAME
  eventually 'an API server that takes changes of keys' takes_keys
  run "kubectl patch apikey $1 --type=merge -p '{\"spec\":{\"revoked\":true}}'"
  [ "$status" -eq 0 ] || fail 'the revocation should be accepted'
}
# Waits until the revocation of a key is enforced, and asks then: from that moment on nobody may accept it.
enforcement() { # enforcement NAME KEY
  local request
  eventually "the enforcement of $1" kubectl wait "apikey/$1" --for=condition=Enforced --timeout=1s
  for request in {1..20}; do answers 401 "$2" || fail "request $request with a key whose revocation is enforced should be refused"; done
  ok "the revocation is enforced, and 20 requests are refused"
}
