# Keyturn on a node of tests/node/run.sh or tests/kind/run.sh, installed by its chart behind Traefik, with an application to protect: what
# walk-throughs there begin with. Sourced after tests/walk.sh by scripts whose first argument is the folder that image/build.sh has
# filled.
# shellcheck shell=bash
image=$(realpath "$1")
cd "$root"
[ -n "${KEYTURN_NODE:-}" ] || { echo "this needs a node: tests/node/run.sh $0 ..." >&2; exit 1; }
bin=$(tests/tools/install.sh helm kubectl nginx schemas.yaml traefik)

. tests/e2e/load.sh
begin_walk e2e
URL=http://traefik.traefik/v1/transcripts/1
# Where the proxy is, and whose log tells of it.
proxy=(traefik deployment/traefik)
evidence() {
  echo '--- pods, and what happened to them last'
  kubectl get pods -A -o wide
  kubectl get events -A --sort-by=.lastTimestamp | grep -v Normal | tail -n 15
  for pod in $(kubectl -n keyturn-system get pods -o name); do
    echo "--- end of the log of $pod"
    kubectl -n keyturn-system logs "$pod" --tail=8
  done
  echo "--- end of the log of ${proxy[1]}"
  kubectl -n "${proxy[0]}" logs "${proxy[1]}" --tail=8
}
import() { # import NAME TOOL [LIBRARY]: an image of it for the node
  tests/node/image.sh "$work/$1.tar" "localhost/$1:1" "${@:2}"
  ctr images import "$work/$1.tar" >/dev/null
  rm "$work/$1.tar"
}
# Helm keeps no files outside of the run's own.
export HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm

ctr images import "$image/keyturn.tar" >/dev/null
version=$(tar -xOf "$image/keyturn.tar" manifest.json | sed 's|.*"localhost/keyturn:\([^"]*\)".*|\1|')
install=(--namespace keyturn-system --set image.repository=localhost/keyturn --set image.pullPolicy=Never --wait --timeout 3m)

install_keyturn() { # install_keyturn LOG-LEVEL
  tell "install: ${install[*]}"
  run "helm install keyturn charts/keyturn --create-namespace \"\${install[@]}\" --set image.tag=\$version --set log.level=$1"
  [ "$status" -eq 0 ] || fail 'the chart should install'
  expect 'STATUS: deployed' 'installed'
}
# The namespace of the application, which kubectl is led to, and its image.
prepare_application() {
  import nginx nginx
  kubectl create namespace speech >/dev/null
  kubectl config set-context --current --namespace=speech >/dev/null
}
# Traefik, and the application behind it.
install_application() {
  import traefik traefik
  prepare_application
  kubectl apply --server-side -f "$bin/schemas.yaml" >/dev/null
  kubectl wait --for=condition=Established crd/middlewares.traefik.io --timeout=30s >/dev/null
  run 'kubectl apply -f tests/e2e/traefik.yaml -f tests/e2e/app.yaml -f config/ingress/traefik/kubernetes.yaml'
  [ "$status" -eq 0 ] || fail "Traefik's and the application's manifests should apply"
  run 'kubectl -n traefik rollout status deployment/traefik --timeout=60s; kubectl rollout status deployment/app --timeout=60s'
  expect 'deployment "traefik" successfully rolled out' 'the ingress controller runs'
  expect 'deployment "app" successfully rolled out' 'so does the application'
}
# The samples and the keys of the walk-through; KEY is the string of ci-runner.
apply_keys() {
  run 'kubectl apply -f config/samples/ -f config/demo/keys.yaml'
  [ "$status" -eq 0 ] || fail 'the samples should apply as they stand'
  run 'kubectl wait apikey --all --for=condition=Ready --timeout=60s'
  expect 'ci-runner condition met' 'the keys are ready'
  KEY=$(secret ci-runner)
  tell "KEY holds the string of ci-runner, URL is $URL"
  eventually 'a route through the proxy' answers 200 "$KEY"
}
# Pods of the deployments as they are meant to be now, and no others.
settled() {
  [ -z "$(kubectl -n keyturn-system get pods -o jsonpath='{.items[*].metadata.deletionTimestamp}')" ]
}

# A rotation of the key busy that fails no request; the new string is in NEW.
rotation_under_load() {
  OLD=$(secret busy)
  load_begins "$OLD"
  request_rotation e2e 20s
  rotation_begins
  load_ends 'the rotation' 0
  rotation_ends 20s
}
# A revocation of the key leaked, of which all verifiers know.
revocation_everywhere() {
  revocation
  run 'kubectl wait apikey/leaked --for=condition=Enforced --timeout=60s'
  expect 'condition met' 'by every verifier'
}
