#!/usr/bin/env bash
# Keyturn behind Envoy Gateway as a platform engineer sets it up: both installed by their charts on a Kubernetes node, with
# config/ingress/envoy-gateway as it stands. Used, restarted under load, misconfigured in every way that its README tells of, and
# uninstalled. Every step prints its command and is checked.
#
#   tests/node/run.sh tests/e2e-gateway.sh FOLDER      FOLDER is what image/build.sh has filled; `make e2e-gateway` does it all
set -euo pipefail

. "$(dirname "$0")/walk.sh"
[ $# -eq 1 ] || explain
. "$root/tests/e2e/installation.sh"
tests/tools/install.sh envoy envoy-gateway gateway-helm.tgz >/dev/null
proxy=(envoy-gateway-system deployment/envoy-gateway)
# In place of a name server.
hosts=$(dirname "$KUBECONFIG")/hosts
[ -e "$hosts" ] || fail "$hosts is missing: this needs a node of tests/node/run.sh"
URL=http://api.example.com/v1/transcripts/1
NOTHING=

# What Envoy Gateway makes of a policy.
policy_is() { # policy_is POLICY STATUS WHAT
  run "kubectl wait securitypolicy/$1 --for=jsonpath='{.status.ancestors[0].conditions[?(@.type==\"Accepted\")].status}'=$2 --timeout=30s"
  expect 'condition met' "$3"
}
applied_as_it_stands() {
  run 'kubectl apply -f config/ingress/envoy-gateway/keyturn.yaml'
  [ "$status" -eq 0 ] || fail 'config/ingress/envoy-gateway should apply as it stands'
}
# Waits until the key whose string is in NEW and a request without one are answered so, by all threads of Envoy.
settles() { # settles WITH-KEY WITHOUT WHAT
  eventually "$3: $1 and $2" answer_so "$1" "$2"
  ask_with NEW NOTHING
  expect "$1 $2" "$3"
}
answer_so() { answers "$1" "$NEW" && answers "$2" '' && answers "$1" "$NEW" && answers "$2" ''; }
closed() { settles "$1" "$1" "$2: nothing passes"; }
guarded() { settles 200 401 "$1: the key passes, and nothing without one"; }

# Whether what comes without a key while COMMAND changes what guards the route is let in.
meanwhile() { # meanwhile never|may WHAT COMMAND...
  local let_in what=$2
  rm -f "$work/strangers"
  ask_steadily "$work/strangers" nobody 2
  eventually 'the first answer' test -s "$work/strangers"
  "${@:3}"
  load_stops
  let_in=$(grep -c ' 2..$' "$work/strangers" || true)
  [ "$1" = may ] || [ "$let_in" = 0 ] || fail "$what: requests without a key were let in: $let_in"
  ok "$what: of $(wc -l <"$work/strangers") requests without a key $let_in were let in"
}

title '1. Install'
install_keyturn info
prepare_application
import envoy envoy
import envoy-gateway envoy-gateway
gateway=(--namespace envoy-gateway-system --create-namespace --wait --timeout 3m)
for name in global.images.envoyGateway.image config.envoyGateway.provider.kubernetes.shutdownManager.image; do
  gateway+=(--set "$name=localhost/envoy-gateway:1")
done
tell "gateway: ${gateway[*]}"
run 'helm install eg "$bin/gateway-helm.tgz" "${gateway[@]}"'
expect 'STATUS: deployed' "Envoy Gateway is installed by its chart"
run 'kubectl apply -f tests/e2e/gateway.yaml -f tests/e2e/app.yaml'
[ "$status" -eq 0 ] || fail "the Gateway's and the application's manifests should apply"
run 'kubectl -n gateways wait gateway/public --for=condition=Programmed --timeout=90s; kubectl rollout status deployment/app --timeout=60s'
expect 'condition met' 'the Gateway is there'
expect 'deployment "app" successfully rolled out' 'so is the application'
address=$(kubectl -n gateways get gateway public -o jsonpath='{.status.addresses[0].value}')
echo "$address api.example.com recordings.example.com" >>"$hosts"
tell "api.example.com and recordings.example.com are $address, that Gateway"

title '2. A key, and calls through the gateway'
put_up() {
  applied_as_it_stands
  policy_is keyturn True 'the policy is accepted'
  apply_keys
}
tell 'Envoy may get the route a moment before the filter of a policy that no route has had yet'
meanwhile may 'while the route is put up' put_up
run 'curl -si -H "Authorization: Bearer $KEY" -H "X-Apikey-Name: forged" -H "X-Apikey-Owner: forged" "$URL"'
expect '200 OK' 'let in'
expect "hello ci-runner, owner 'acme-1', credential ''" 'the backend knows who calls, whatever the caller says, and never sees the key'
expect 'x-ratelimit-remaining: ' 'the client learns how its limit stands'
refusals
run 'curl -si -H "Authorization: Bearer $KEY" -H "X_Apikey_Name: forged" "$URL"'
expect '400 Bad Request' 'an identity in underscores, which many backends take for the same: refused by the gateway'
run 'curl -si --path-as-is -H "Authorization: Bearer $KEY" "http://api.example.com/v1/transcripts%2F1"'
expect '307 Temporary Redirect' 'an encoded slash: the gateway sends the client to the path that it means'
run 'curl -s -o /dev/null -w "%{http_code}\n" --path-as-is -H "Authorization: Bearer $KEY" "http://api.example.com/v1/transcripts/../admin"'
expect '403' 'dots: judged as the path that the backend would see'
told_of_key() {
  kubectl -n envoy-gateway-system logs -c envoy -l gateway.envoyproxy.io/owning-gateway-name=public --tail=-1 >"$out"
  grep -q 'code=INSUFFICIENT_SCOPE key=key_' "$out"
}
eventually 'a line of the access log with the key' told_of_key
ok 'the access log tells which key it was, and why it was refused'

title '3. Rotate, under load'
rotation_under_load

title '4. Revoke'
revocation_everywhere

title '5. Verifiers are replaced, under load'
load_begins "$NEW" "$LEAKED"
run 'kubectl -n keyturn-system rollout restart deployment/keyturn-verifier; kubectl -n keyturn-system rollout status deployment/keyturn-verifier --timeout=120s'
expect 'successfully rolled out' 'replaced'
eventually 'the end of the old pods' settled
load_ends 'the replacement of both verifiers' 0

title '6. Which API a route leads to'
RECORDINGS=http://recordings.example.com/v1/1
put_up_without_a_moment() {
  run "sed 's/- backendRefs: .*/- {}/' tests/e2e/recordings.yaml | kubectl apply -f -"
  eventually 'a refusal' refuses_strangers
  run 'kubectl apply -f tests/e2e/recordings.yaml; kubectl wait apikey/recorder --for=condition=Ready --timeout=60s'
  expect 'condition met' 'a second API, named by contextExtensions of its policy'
  policy_is recordings True 'the policy is accepted'
  RECORDER=$(secret recorder)
  eventually 'a route to it' curl -fsS "$RECORDINGS?api_key=$RECORDER"
}
refuses_strangers() { [ "$(curl -s -o /dev/null -w '%{http_code}' "$RECORDINGS")" = 401 ]; }
URL=$RECORDINGS meanwhile never 'while a route is put up that leads nowhere before its policy is there' put_up_without_a_moment
run 'curl -si "$RECORDINGS?api_key=$RECORDER&page=2"'
expect '200 OK' 'a key of that API is let in'
expect "hello recorder, owner '', credential '', query 'page=2'" 'and not handed on, though it stood in the query'
run 'curl -si -H "X-API-Key: $NEW" "$RECORDINGS"'
expect 'UNAUTHORIZED' 'a key of the other one is not'
run 'kubectl annotate httproute transcripts gateway.envoyproxy.io/keyturn-route=write'
eventually 'judgement as that route' answers 403 "$NEW"
run 'curl -si -H "Authorization: Bearer $NEW" "$URL"'
expect 'INSUFFICIENT_SCOPE' 'the annotation keyturn-route: judged as the route write, whatever the path'
run 'kubectl annotate httproute transcripts gateway.envoyproxy.io/keyturn-route- gateway.envoyproxy.io/keyturn-api-'
eventually 'a refusal' answers 404 "$NEW"
run 'curl -si -H "Authorization: Bearer $NEW" -H "keyturn-api: speech/transcripts" "$URL?keyturn-api=speech/transcripts"'
expect 'API_NOT_FOUND' 'without the annotations nothing names an API, least of all the client'
applied_as_it_stands
guarded 'with them again'

title '7. Over TLS'
certificate=(-nodes -days 1 -subj /CN=verifier -addext subjectAltName=DNS:keyturn-verifier.keyturn-system.svc)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "${certificate[@]}" -keyout "$work/key" -out "$work/certificate" 2>/dev/null
run 'kubectl -n keyturn-system create secret tls keyturn-verifier-grpc --cert="$work/certificate" --key="$work/key"'
run 'kubectl -n keyturn-system create configmap keyturn-verifier-ca --from-file=ca.crt="$work/certificate"'
run 'helm upgrade keyturn charts/keyturn "${install[@]}" --set image.tag=$version --set verifier.grpc.tls.secretName=keyturn-verifier-grpc'
expect 'REVISION: 2' 'verifiers serve over TLS'
closed 503 'before the gateway is told'
run 'kubectl apply -f config/ingress/envoy-gateway/tls.yaml'
guarded 'over TLS'

title '8. Without a verdict'
eventually 'the end of the old pods' settled
mapfile -t verifiers < <(kubectl -n keyturn-system get pods -l app.kubernetes.io/component=verifier \
  -o jsonpath='{range .items[*]}{.status.containerStatuses[0].containerID}{"\n"}{end}' | sed 's|.*//||')
for verifier in "${verifiers[@]}"; do ctr tasks pause "$verifier"; done
run 'curl -s -o /dev/null -w "%{http_code} after %{time_total} s\n" -H "Authorization: Bearer $NEW" "$URL"'
for verifier in "${verifiers[@]}"; do ctr tasks resume "$verifier"; done
expect '503' 'verifiers take calls and answer none: nothing passes'
guarded 'verifiers go on'
run 'kubectl -n keyturn-system scale deployment/keyturn-verifier --replicas=0'
closed 500 'no verifier'
run 'kubectl -n keyturn-system scale deployment/keyturn-verifier --replicas=2'
guarded 'verifiers are back'

title '9. Policies that are wrong'
run 'kubectl -n keyturn-system delete referencegrant keyturn-verifier'
policy_is keyturn False 'nobody lets the policy lead to the verifiers: it is not accepted'
closed 500 'without the ReferenceGrant'
run "kubectl patch securitypolicy keyturn --type=merge -p '{\"spec\":{\"extAuth\":{\"failOpen\":true}}}'"
eventually 'the open door' answers 200 ''
ok 'failOpen: true, which the README warns of, opens the door for whoever comes when a policy is wrong'
applied_as_it_stands
guarded 'applied again'
run "kubectl patch securitypolicy keyturn --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/extAuth/grpc/backendRefs/0/port\",\"value\":9091}]'"
policy_is keyturn False 'a port that the Service does not have: it is not accepted'
closed 500 'with the wrong port'
applied_as_it_stands
guarded 'applied again'

title '10. One policy for all routes of the Gateway'
change_policies() {
  run 'kubectl apply -f tests/e2e/gateway-policy.yaml'
  run 'kubectl delete securitypolicy keyturn'
  guarded "by the Gateway's policy"
}
meanwhile may 'while policies change' change_policies
run 'kubectl apply -f tests/e2e/route-policy.yaml'
eventually 'the open door' answers 200 ''
ok "a policy of the route replaces the Gateway's, whatever it is about: the README warns of that"
run 'kubectl delete -f tests/e2e/route-policy.yaml'
guarded 'without it'

title '11. The filter ExternalAuth, which this gateway does not know'
use_filter() {
  run 'kubectl apply -f config/ingress/gateway-api/keyturn.yaml'
  run "kubectl wait httproute/transcripts --for=jsonpath='{.status.parents[0].conditions[?(@.reason==\"UnsupportedValue\")].status}'=False --timeout=30s"
  expect 'condition met' 'the route is refused'
  run 'kubectl delete -f tests/e2e/gateway-policy.yaml'
  closed 500 'with the filter'
}
meanwhile never 'while the filter comes and the policy goes' use_filter

title '12. Uninstall'
take_down() {
  run 'kubectl delete httproute transcripts recordings'
  run 'kubectl delete -f config/ingress/envoy-gateway/ -f tests/e2e/recordings.yaml --ignore-not-found'
  eventually 'the end of the route' answers 404 "$NEW"
}
meanwhile never 'while the route is taken down, it before its policy' take_down
run 'kubectl delete -f tests/e2e/gateway.yaml'
run 'helm uninstall keyturn --namespace keyturn-system --wait'
expect 'release "keyturn" uninstalled' 'Keyturn is uninstalled'
run 'helm uninstall eg --namespace envoy-gateway-system --wait'
expect 'release "eg" uninstalled' 'so is Envoy Gateway'
run 'kubectl delete namespace speech keyturn-system envoy-gateway-system --timeout=90s'
[ "$status" -eq 0 ] || fail 'the namespaces should go'
run "kubectl get pods,services,deployments,secrets -A --no-headers -o custom-columns='KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name' | grep -v -e ' kube-system ' -e ' default  *kubernetes\$'"
[ ! -s "$out" ] || fail 'something is left'
ok 'nothing is left of either'

printf '\n%sEvery step has shown what it should.%s\n' "$green" "$plain"
