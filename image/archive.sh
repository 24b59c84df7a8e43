#!/usr/bin/env bash
# Builds the image of a Dockerfile without a container engine into a file, and prints its id. The same files give the same id.
#
#   image/archive.sh FILE.tar NAME:TAG FOLDER [OPTION-OF-BUILDAH-BUILD ...]
set -euo pipefail

out=$1 name=$2 folder=$3
shift 3
work=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-archive.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Images that others keep on this machine are none of ours, and the other way round.
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"
buildah() {
  command buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs --signature-policy "$work/policy.json" "$@"
}
buildah build --quiet --pull-never --isolation chroot --timestamp 0 --tag "$name" "$@" "$folder"
rm -f "$out"
buildah push --quiet "$name" "docker-archive:$out:$name"
