#!/usr/bin/env bash
# A walk-through of Keyturn on a real API server and a real nginx. Every step prints the command as you
# would type it, shows what comes back, and stops with a clear line when that is not what it should be.
#
#   tests/cluster/run.sh tests/demo.sh KEYTURN        KEYTURN is the program; `make demo` does it all
#
# The controller, one verifier and nginx run as processes on loopback. Everything happens in the namespace
# keyturn-demo, which is removed before and after. KEYTURN_BENCH_KEYS (10000) is how many keys step 4 makes.
set -euo pipefail

. "$(dirname "$0")/walk.sh"
[ $# -eq 1 ] || explain
keyturn=$(realpath "$1")
cd "$root"
for tool in kubectl nginx curl wrk; do
  command -v "$tool" >/dev/null || { echo "$tool is not in PATH; run make demo" >&2; exit 1; }
done

begin_walk demo
clean_up() { kubectl delete namespace keyturn-demo --ignore-not-found --wait=false >/dev/null 2>&1 || true; }
evidence() {
  for log in "$work"/*.log; do [ ! -s "$log" ] || { echo "--- end of $(basename "$log")"; tail -n 15 "$log"; }; done
}
free_port() {
  local port
  while :; do
    port=$((10000 + RANDOM % 9000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { printf '%s' "$port"; return; }
  done
}
background() { # background NAME COMMAND...
  "${@:2}" >"$work/$1.log" 2>&1 &
}
rejected() { # rejected NAME REASON
  [ "$(kubectl get apikey "$1" -o jsonpath='{.status.conditions[?(@.type=="Accepted")].reason}')" = "$2" ]
}

# A kubeconfig of our own, so that choosing a namespace changes nobody else's.
kubectl config view --flatten --minify >"$work/kubeconfig"
export KUBECONFIG=$work/kubeconfig
kubectl config set-context --current --namespace=keyturn-demo >/dev/null
kubectl delete namespace keyturn-demo --ignore-not-found --wait=true --timeout=120s >/dev/null
kubectl create namespace keyturn-demo >/dev/null

verifier_port=$(free_port) proxy_port=$(free_port) backend_port=$(free_port)
controller_health=$(free_port) verifier_health=$(free_port)
common=(--namespace=keyturn-demo --operator-namespace=keyturn-demo --log-level=info)
background controller "$keyturn" controller "${common[@]}" --health-listen="127.0.0.1:$controller_health"
background verifier "$keyturn" verifier "${common[@]}" --drain-delay=0s \
  --auth-listen="127.0.0.1:$verifier_port" --health-listen="127.0.0.1:$verifier_health"
cat >"$work/nginx.conf" <<CONF
daemon off;
pid $work/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000;
  client_body_temp_path $work/body; proxy_temp_path $work/proxy;
  fastcgi_temp_path $work/fastcgi; uwsgi_temp_path $work/uwsgi; scgi_temp_path $work/scgi;
  upstream keyturn { server 127.0.0.1:$verifier_port; keepalive 64; }
  upstream backend { server 127.0.0.1:$backend_port; keepalive 64; }
  # The application: it says who its caller is.
  server {
    listen 127.0.0.1:$backend_port;
    location / { return 200 "hello \$http_x_apikey_name, owner '\$http_x_apikey_owner', credential '\$http_authorization'\n"; }
  }
  server {
    listen 127.0.0.1:$proxy_port;
    set \$keyturn_api keyturn-demo/transcripts;
    include $root/config/ingress/nginx/keyturn.conf;
    location / { include $root/config/ingress/nginx/keyturn-protect.conf; proxy_pass http://backend; }
  }
}
CONF
background nginx nginx -e stderr -p "$work" -c "$work/nginx.conf"
eventually 'a ready controller' curl -fsS "127.0.0.1:$controller_health/readyz"
eventually 'a ready verifier' curl -fsS "127.0.0.1:$verifier_health/readyz"
URL=http://127.0.0.1:$proxy_port/v1/transcripts/1

title '1. Apply an API, tiers, a role and a key'
run 'kubectl apply -f config/samples/'
[ "$status" -eq 0 ] || fail 'the samples should apply as they stand'
run 'kubectl wait apikey/ci-runner --for=condition=Ready --timeout=60s'
expect 'condition met' 'the key is ready'
run 'kubectl get apikeys'
expect 'Active' 'the key is Active'
run "kubectl get secret ci-runner -o jsonpath='{.data.api-key}' | base64 -d | cut -c1-12; echo ..."
expect 'sk_live_' 'the Secret holds the string (its beginning is shown)'
KEY=$(secret ci-runner)
kubectl apply -f config/demo/keys.yaml >/dev/null
kubectl wait apikey --all --for=condition=Ready --timeout=60s >/dev/null || fail 'the keys of config/demo/keys.yaml should become ready'

title '2. Call through nginx'
tell "KEY holds the string, URL is $URL"
run 'curl -si -H "Authorization: Bearer $KEY" "$URL"'
expect '200 OK' 'let in'
expect "hello ci-runner, owner 'acme-1', credential ''" 'the backend knows who calls, and never sees the key'
refusals
run 'curl -si --interface 127.0.0.2 -H "Authorization: Bearer $KEY" "$URL"'
expect '403' 'a foreign address: 403'
expect 'IP_NOT_ALLOWED' 'and the reason'
LIMITED=$(secret limited)
tell 'the key limited may call five times in four seconds'
run 'for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w "%{http_code} " -H "Authorization: Bearer $LIMITED" "$URL"; done; echo'
expect '200 200 200 200 200 429' 'the sixth call is one too many'
run 'curl -si -H "Authorization: Bearer $LIMITED" "$URL"'
expect '429' 'still refused'
expect 'RATE_LIMITED' 'with a problem document'
RETRY_AFTER=$(awk 'tolower($1) == "retry-after:" { print $2 + 0 }' "$out")
[ "${RETRY_AFTER:-0}" -gt 0 ] || fail 'a 429 should carry Retry-After'
run "sleep $RETRY_AFTER; curl -s -o /dev/null -w '%{http_code}\n' -H \"Authorization: Bearer \$LIMITED\" \"\$URL\""
expect '200' "let in again after exactly Retry-After ($RETRY_AFTER s)"

title '3. Rotate, under load'
OLD=$(secret busy)
tell 'OLD is the string of the key busy; eight connections use it all the while'
wrk -t1 -c8 -d8s -H "Authorization: Bearer $OLD" "$URL" >"$work/wrk.txt" 2>&1 &
load=$!
request_rotation "demo-$$" 15s
rotation_begins
run 'kubectl get apikey busy'
wait "$load" || fail 'wrk could not run'
run 'cat "$work/wrk.txt"'
grep -q 'Requests/sec' "$out" || fail 'wrk has measured nothing'
grep -q -e 'Non-2xx' -e 'Socket errors' "$out" && fail 'requests have failed during the rotation'
ok 'no request has failed meanwhile'
rotation_ends 15s

title '4. Revoke'
revocation
run "kubectl wait apikey/leaked --for=jsonpath='{.status.revocation.at}' --timeout=60s"
[ "$status" -eq 0 ] || fail 'the revocation should be recorded in the status'
tell "how fast, among ${KEYTURN_BENCH_KEYS:-10000} keys: from the PATCH being sent to the first refusal that a client of nginx sees"
printf '%s$ cargo bench --bench revocation%s\n' "$bold" "$plain"
cargo bench --quiet --bench revocation || fail 'the benchmark has failed'

title '5. A revocation is for good'
run "kubectl patch apikey leaked --type=merge -p '{\"spec\":{\"revoked\":false}}'"
expect_refused 'revo' 'refused with a sentence'

title '6. Delete'
run 'kubectl delete apikey ci-runner'
gone() { ! kubectl get secret ci-runner; }
eventually 'the Secret to go' gone
run 'kubectl get apikey,secret ci-runner --ignore-not-found'
[ ! -s "$out" ] || fail 'something is left of the key'
ok 'nothing is left'
eventually 'a refusal' answers 401 "$KEY"
run 'curl -s -o /dev/null -w "%{http_code}\n" -H "Authorization: Bearer $KEY" "$URL"'
expect '401' 'and nobody knows the string any more'

title '7. Mistakes'
run 'kubectl apply -f config/demo/mistakes/bad-cidr.yaml'
expect_refused '10.0.0.0/33' 'a range that is none: the value is named'
run 'kubectl apply -f config/demo/mistakes/long-grace.yaml'
expect_refused 'gracePeriod' 'a grace period longer than the interval'
run 'kubectl apply -f config/demo/mistakes/scope-with-space.yaml'
expect_refused 'scopes' 'a scope with a space'
run 'kubectl apply -f config/demo/mistakes/unknown-tier.yaml'
eventually 'a verdict on the tier' rejected unknown-tier TierNotFound
run "kubectl get apikey unknown-tier -o jsonpath='{.status.conditions[?(@.type==\"Accepted\")].message}'"
expect 'platinum' 'an unknown tier: the condition names it'
run 'kubectl apply -f config/demo/mistakes/taken-secret.yaml'
eventually 'a verdict on the name' rejected taken-secret SecretNameTaken
run "kubectl get apikey taken-secret -o jsonpath='{.status.conditions[?(@.type==\"Accepted\")].message}'"
expect 'database' "a name that is taken: the condition names it"
run "kubectl get secret database -o jsonpath='{.data.password}' | base64 -d; echo"
expect 'not-ours' "and somebody else's Secret is untouched"

printf '\n%sEvery step has shown what it should.%s\n' "$green" "$plain"
