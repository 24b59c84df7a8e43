#!/usr/bin/env bash
# What becomes of requests when something fails: Keyturn on a Kubernetes node, behind Traefik, with two verifiers and two
# controllers, under a steady load with a key, and with another that is revoked. No fault may let the latter in.
#
#   tests/node/run.sh tests/faults.sh FOLDER PROGRAM [FAULT ...]      `make faults` does it all
#
# FOLDER is what image/build.sh has filled. PROGRAM is the same program linked to shared libraries, for a verifier whose clock is
# wrong: the image's cannot be deceived about the time. FAULT is one of those below (all of them). At the end there is a table of
# what came of the requests: docs/reliability.md.
set -euo pipefail
. "$(dirname "$0")/walk.sh"

# A verifier that is killed leaves a Lease behind, and what is revoked after that is enforced only when it has run out: so these
# are the last.
faults=(evict roll lead secrets clock api-server etcd etcd-plain crash delete node)
[ $# -ge 2 ] || explain "${faults[@]}"
program=$(realpath "$2")
[ $# -eq 2 ] || faults=("${@:3}")
. "$root/tests/e2e/installation.sh"
. tests/node/servers.sh
. tests/faults/keys.sh
. tests/faults/pods.sh
. tests/faults/controllers.sh
. tests/faults/control-plane.sh
tests/tools/install.sh etcdutl >/dev/null

title 'Installation'
install_keyturn warn
install_application
apply_keys
revocation
enforcement leaked "$LEAKED"
# By address: looking names up is a pod's service too.
URL=http://$(kubectl -n traefik get service traefik -o jsonpath='{.spec.clusterIP}')/v1/transcripts/1
BUSY=$(secret busy)

for fault in "${faults[@]}"; do "fault_$fault"; done

printf '\n%s== fault | requests | wrong answers | failed requests | longest time without an answer, s ==%s\n' "$bold" "$plain"
cat "$work/table"
