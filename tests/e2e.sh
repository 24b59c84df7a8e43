#!/usr/bin/env bash
# Keyturn as a platform engineer runs it: installed by its chart on a Kubernetes node, behind Traefik as the ingress controller,
# used, upgraded and rolled back under load, and uninstalled. Every step prints its command and is checked.
#
#   tests/node/run.sh tests/e2e.sh FOLDER      FOLDER is what image/build.sh has filled; `make e2e` does it all
set -euo pipefail

. "$(dirname "$0")/walk.sh"
[ $# -eq 1 ] || explain
. "$root/tests/e2e/installation.sh"

title '1. Install'
# The same program under another tag, so that an upgrade replaces every pod.
ctr images tag "localhost/keyturn:$version" localhost/keyturn:next >/dev/null
install_keyturn warn
run 'kubectl -n keyturn-system get pods -o wide'
for part in controller verifier; do
  run "kubectl -n keyturn-system rollout status deployment/keyturn-$part --timeout=10s"
  expect 'successfully rolled out' "every $part is ready"
done
run 'kubectl label namespace keyturn-system pod-security.kubernetes.io/enforce=restricted'
! grep -q 'Warning' "$out" || fail 'the pods should be what the standard "restricted" asks for'
ok 'the pods are what the standard "restricted" asks for'
install_application

title '2. A key, and calls through the ingress'
apply_keys
run 'kubectl get apikeys'
run 'curl -si -H "Authorization: Bearer $KEY" -H "X-Apikey-Name: forged" "$URL"'
expect '200 OK' 'let in'
expect "hello ci-runner, owner 'acme-1', credential ''" 'the backend knows who calls, whatever the caller says, and never sees the key'
refusals

title '3. Rotate, under load'
rotation_under_load

title '4. Revoke'
revocation_everywhere

title '5. Upgrade and roll back, under load'
load_begins "$NEW" "$LEAKED"
run 'helm upgrade keyturn charts/keyturn "${install[@]}" --set image.tag=next --set verifier.maxStaleness=10m --set log.level=info'
expect 'REVISION: 2' 'upgraded'
eventually 'the end of the old pods' settled
run "kubectl -n keyturn-system get pods -o custom-columns='NAME:.metadata.name,IMAGE:.spec.containers[0].image,READY:.status.containerStatuses[0].ready'"
expect 'localhost/keyturn:next' 'the pods are new ones'
! grep -q "keyturn:$version" "$out" || fail 'no pod of before the upgrade should be left'
load_ends 'the upgrade' 0
load_begins "$NEW" "$LEAKED"
run 'helm rollback keyturn 1 --namespace keyturn-system --wait --timeout 3m'
expect 'Rollback was a success' 'rolled back'
eventually 'the end of the old pods' settled
run "kubectl -n keyturn-system get pods -o custom-columns='NAME:.metadata.name,IMAGE:.spec.containers[0].image,READY:.status.containerStatuses[0].ready'"
expect "localhost/keyturn:$version" 'the pods are as they were'
load_ends 'the rollback' 0

title '6. Uninstall, and come back'
run 'helm uninstall keyturn --namespace keyturn-system --wait'
expect 'release "keyturn" uninstalled' 'uninstalled'
gone() { [ -z "$(kubectl -n keyturn-system get pods,services -o name)" ]; }
eventually 'the end of every pod and Service' gone
run 'kubectl get apikeys,protectedapis,secrets'
for kept in apikey.keyturn.dev/busy protectedapi.keyturn.dev/transcripts secret/busy; do expect "$kept" "$kept is still there"; done
[ "$(secret busy)" = "$NEW" ] || fail 'the string in the Secret should be what it was'
eventually 'a refusal' answers 500 "$NEW"
run 'curl -s -o /dev/null -w "%{http_code}\n" --max-time 35 -H "Authorization: Bearer $NEW" "$URL"'
expect '500' 'without verifiers nothing passes'
run 'helm install keyturn charts/keyturn "${install[@]}" --set image.tag=$version'
expect 'STATUS: deployed' 'installed again'
eventually 'an answer' answers 200 "$NEW"
ask_with NEW LEAKED
expect '200 401' 'keys are what they were, and the revoked one is'

title '7. Delete'
run 'kubectl delete apikey ci-runner'
eventually 'a refusal' answers 401 "$KEY"
no_secret() { ! kubectl get secret ci-runner; }
eventually 'the Secret to go' no_secret
ok 'the key, its Secret and its access are gone'

printf '\n%sEvery step has shown what it should.%s\n' "$green" "$plain"
