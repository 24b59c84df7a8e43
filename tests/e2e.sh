#!/usr/bin/env bash
# Keyturn as a platform engineer runs it: installed by its chart on a Kubernetes node, behind Traefik as the ingress controller,
# used, upgraded and rolled back under load, and uninstalled. Every step prints its command and is checked.
#
#   tests/node/run.sh tests/e2e.sh FOLDER      FOLDER is what image/build.sh has filled; `make e2e` does it all
set -euo pipefail

[ $# -eq 1 ] || { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0" >&2; exit 2; }
image=$(realpath "$1")
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
[ -n "${CONTAINERD_ADDRESS:-}" ] || { echo 'this needs a node: make e2e' >&2; exit 1; }
bin=$(tests/tools/install.sh helm kubectl nginx schemas.yaml traefik wrk)

. tests/walk.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-e2e.XXXXXX")
out=$work/output
load=
down() {
  local status=$?
  [ -z "$load" ] || kill "$load" 2>/dev/null || true
  rm -rf "$work"
  exit "$status"
}
trap down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
evidence() {
  echo '--- pods, and what happened to them last'
  kubectl get pods -A -o wide
  kubectl get events -A --sort-by=.lastTimestamp | grep -v Normal | tail -n 15
  for pod in $(kubectl -n keyturn-system get pods -o name) deployment/traefik; do
    echo "--- end of the log of $pod"
    kubectl -n "$([ "$pod" = deployment/traefik ] && echo traefik || echo keyturn-system)" logs "$pod" --tail=8
  done
}
import() { # import TOOL: an image of it for the node
  tests/node/image.sh "$work/$1.tar" "localhost/$1:1" "$1"
  ctr images import "$work/$1.tar" >/dev/null
  rm "$work/$1.tar"
}
# Helm keeps no files outside of the run's own.
export HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm

# Four connections with a key, each asking about a hundred times a second, until load_ends.
load_begins() { # load_begins KEY
  wrk -t1 -c4 -d300s --timeout 10s -s tests/e2e/load.lua -H "Authorization: Bearer $1" "$URL" >"$work/load" 2>&1 &
  load=$!
}
load_ends() { # load_ends WHAT: no request has failed meanwhile
  kill -INT "$load" && wait "$load" || fail 'the load generator has failed'
  load=
  cp "$work/load" "$out"
  grep '^requests' "$out" || fail 'the load generator has measured nothing'
  ! grep -q '^requests sent: 0,' "$out" || fail 'the load generator has sent nothing'
  expect ', failed: 0 ' "no request has failed during $1"
}
answers() { # answers STATUS KEY
  [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 35 -H "Authorization: Bearer $2" "$URL")" = "$1" ]
}
# Pods of the deployments as they are meant to be now, and no others.
settled() {
  [ -z "$(kubectl -n keyturn-system get pods -o jsonpath='{.items[*].metadata.deletionTimestamp}')" ]
}

URL=http://traefik.traefik/v1/transcripts/1

title '1. Install'
ctr images import "$image/keyturn.tar" >/dev/null
version=$(tar -xOf "$image/keyturn.tar" manifest.json | sed 's|.*"localhost/keyturn:\([^"]*\)".*|\1|')
# The same program under another tag, so that an upgrade replaces every pod.
ctr images tag "localhost/keyturn:$version" localhost/keyturn:next >/dev/null
install=(--namespace keyturn-system --set image.repository=localhost/keyturn --set image.pullPolicy=Never --wait --timeout 3m)
tell "install: ${install[*]}"
run 'helm install keyturn charts/keyturn --create-namespace "${install[@]}" --set image.tag=$version --set log.level=warn'
[ "$status" -eq 0 ] || fail 'the chart should install'
expect 'STATUS: deployed' 'installed'
run 'kubectl -n keyturn-system get pods -o wide'
for part in controller verifier; do
  run "kubectl -n keyturn-system rollout status deployment/keyturn-$part --timeout=10s"
  expect 'successfully rolled out' "every $part is ready"
done
run 'kubectl label namespace keyturn-system pod-security.kubernetes.io/enforce=restricted'
! grep -q 'Warning' "$out" || fail 'the pods should be what the standard "restricted" asks for'
ok 'the pods are what the standard "restricted" asks for'
import traefik
import nginx
kubectl apply --server-side -f "$bin/schemas.yaml" >/dev/null
kubectl wait --for=condition=Established crd/middlewares.traefik.io --timeout=30s >/dev/null
kubectl create namespace speech >/dev/null
kubectl config set-context --current --namespace=speech >/dev/null
run 'kubectl apply -f tests/e2e/traefik.yaml -f tests/e2e/app.yaml -f config/ingress/traefik/kubernetes.yaml'
[ "$status" -eq 0 ] || fail "Traefik's and the application's manifests should apply"
run 'kubectl -n traefik rollout status deployment/traefik --timeout=60s; kubectl rollout status deployment/app --timeout=60s'
expect 'deployment "traefik" successfully rolled out' 'the ingress controller runs'
expect 'deployment "app" successfully rolled out' 'so does the application'

title '2. A key, and calls through the ingress'
run 'kubectl apply -f config/samples/ -f config/demo/keys.yaml'
[ "$status" -eq 0 ] || fail 'the samples should apply as they stand'
run 'kubectl wait apikey --all --for=condition=Ready --timeout=60s'
expect 'ci-runner condition met' 'the keys are ready'
run 'kubectl get apikeys'
KEY=$(secret ci-runner)
tell "KEY holds the string of ci-runner, URL is $URL"
eventually 'a route through Traefik' answers 200 "$KEY"
run 'curl -si -H "Authorization: Bearer $KEY" -H "X-Apikey-Name: forged" "$URL"'
expect '200 OK' 'let in'
expect "hello ci-runner, owner 'acme-1', credential ''" 'the backend knows who calls, whatever the caller says, and never sees the key'
run 'curl -si "$URL"'
expect '401 Unauthorized' 'no key: 401'
expect 'UNAUTHORIZED' 'with a problem document'
run 'curl -si -X POST -H "Authorization: Bearer $KEY" "$URL"'
expect '403 Forbidden' 'a route whose scope it lacks: 403'
expect 'INSUFFICIENT_SCOPE' 'and the reason'

title '3. Rotate, under load'
OLD=$(secret busy)
load_begins "$OLD"
run "kubectl patch apikey busy --type=merge -p '{\"spec\":{\"rotation\":{\"request\":{\"id\":\"e2e\",\"gracePeriod\":\"20s\"}}}}'"
[ "$status" -eq 0 ] || fail 'the rotation should be accepted'
changed() { [ "$(secret busy)" != "$OLD" ]; }
eventually 'a new string in the Secret' changed
NEW=$(secret busy)
run 'for key in "$OLD" "$NEW"; do curl -s -o /dev/null -w "%{http_code} " -H "Authorization: Bearer $key" "$URL"; done; echo'
expect '200 200' 'the old and the new string are both accepted'
load_ends 'the rotation'
tell 'until the grace period of 20 s is over ...'
eventually 'the end of the grace period' answers 403 "$OLD"
run 'for key in "$OLD" "$NEW"; do curl -s -o /dev/null -w "%{http_code} " -H "Authorization: Bearer $key" "$URL"; done; echo'
expect '403 200' 'after it only the new one is'

title '4. Revoke'
LEAKED=$(secret leaked)
run 'curl -s -o /dev/null -w "%{http_code}\n" -H "Authorization: Bearer $LEAKED" "$URL"'
expect '200' 'the leaked key works'
run "kubectl patch apikey leaked --type=merge -p '{\"spec\":{\"revoked\":true,\"revocationReason\":\"leaked in a build log\"}}'"
eventually 'a refusal' answers 401 "$LEAKED"
run 'curl -si -H "Authorization: Bearer $LEAKED" "$URL"'
expect 'REVOKED' 'refused'
run 'kubectl wait apikey/leaked --for=condition=Enforced --timeout=60s'
expect 'condition met' 'by every verifier'

title '5. Upgrade and roll back, under load'
load_begins "$NEW"
run 'helm upgrade keyturn charts/keyturn "${install[@]}" --set image.tag=next --set verifier.maxStaleness=10m --set log.level=info'
expect 'REVISION: 2' 'upgraded'
eventually 'the end of the old pods' settled
run "kubectl -n keyturn-system get pods -o custom-columns='NAME:.metadata.name,IMAGE:.spec.containers[0].image,READY:.status.containerStatuses[0].ready'"
expect 'localhost/keyturn:next' 'the pods are new ones'
! grep -q "keyturn:$version" "$out" || fail 'no pod of before the upgrade should be left'
load_ends 'the upgrade'
load_begins "$NEW"
run 'helm rollback keyturn 1 --namespace keyturn-system --wait --timeout 3m'
expect 'Rollback was a success' 'rolled back'
eventually 'the end of the old pods' settled
run "kubectl -n keyturn-system get pods -o custom-columns='NAME:.metadata.name,IMAGE:.spec.containers[0].image,READY:.status.containerStatuses[0].ready'"
expect "localhost/keyturn:$version" 'the pods are as they were'
load_ends 'the rollback'

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
run 'for key in "$NEW" "$LEAKED"; do curl -s -o /dev/null -w "%{http_code} " -H "Authorization: Bearer $key" "$URL"; done; echo'
expect '200 401' 'keys are what they were, and the revoked one is'

title '7. Delete'
run 'kubectl delete apikey ci-runner'
eventually 'a refusal' answers 401 "$KEY"
no_secret() { ! kubectl get secret ci-runner; }
eventually 'the Secret to go' no_secret
ok 'the key, its Secret and its access are gone'

printf '\n%sEvery step has shown what it should.%s\n' "$green" "$plain"
