#!/usr/bin/env bash
# Brings what the chart carries of other folders, since Helm reads nothing outside of a chart, up to date; with `render`, what
# config/default has of the chart as well.
#
#   tests/chart.sh [render]
set -euo pipefail
cd "$(dirname "$0")/.."

files=charts/keyturn/files
rm -rf "$files"
mkdir -p "$files"
for source in crds config/rbac config/audit config/guard config/monitoring; do
  mkdir "$files/${source##*/}"
  cp "$source"/* "$files/${source##*/}"
done
# What is only for kubectl and for people.
rm -f "$files"/*/kustomization.yaml "$files"/*/README.md "$files/rbac/namespace.yaml"

[ "${1:-}" = render ] || exit 0
helm=$(tests/tools/install.sh helm)/helm
# Without what makes objects Helm's.
"$helm" template keyturn charts/keyturn --namespace keyturn-system --kube-version 1.33.0 --set policies.actor=Never |
  sed '/helm\.sh\//d; /managed-by: Helm/d; /^# Source: /d' >config/default/keyturn.yaml
