#!/usr/bin/env bash
# Checks the image that image/build.sh makes: builds it twice and looks at what came out.
#
#   tests/image.sh         as root; `make image` does it
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
work=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-image-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() { printf 'image: %s\n' "$*" >&2; exit 1; }
ok() { printf 'image:   ok: %s\n' "$*" >&2; }
same() { # same WHAT EXPECTED FOUND
  [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
  ok "$1: $3"
}
# Prints what EXPRESSION says of a JSON file, a line each.
json() { # json FILE EXPRESSION: in Python; the document is `it`
  python3 -c 'import json, sys
found = eval(sys.argv[2], {"it": json.load(open(sys.argv[1]))})
print(*(found if isinstance(found, list) else [found]), sep="\n")' "$1" "$2"
}

out=${CARGO_TARGET_DIR:-target}/image
image/build.sh "$work/first"
image/build.sh "$out"
same 'the id of two builds' "$(<"$work/first/keyturn.id")" "$(<"$out/keyturn.id")"
cmp -s "$work/first/keyturn.cdx.json" "$out/keyturn.cdx.json" || fail 'two bills of materials of the same sources differ'
ok 'so are their bills of materials'

mkdir "$work/archive" "$work/files"
tar -C "$work/archive" -xf "$out/keyturn.tar"
json "$work/archive/manifest.json" 'it[0]["Layers"]' | while read -r layer; do tar -C "$work/files" -xf "$work/archive/$layer"; done
config=$work/archive/$(json "$work/archive/manifest.json" 'it[0]["Config"]')
version=$(sed -n 's/^version = "\(.*\)"$/\1/p;T;q' Cargo.toml)
same 'user' 65532:65532 "$(json "$config" 'it["config"]["User"]')"
same 'entry point' /keyturn "$(json "$config" 'it["config"]["Entrypoint"]')"
same 'label version' "$version" "$(json "$config" 'it["config"]["Labels"]["org.opencontainers.image.version"]')"
for label in title description source licenses revision; do
  [ -n "$(json "$config" "it['config']['Labels']['org.opencontainers.image.$label']")" ] || fail "the label $label says nothing"
done
ok 'labels title, description, source, licenses, revision'
grep -qx "ARG VERSION=$version" Dockerfile || fail "the version that Dockerfile takes without a --build-arg should be $version"
ok 'docker build says the same version'
same 'files: no shell, no library, nothing that is not needed' './etc/group ./etc/passwd ./etc/ssl/certs/ca-certificates.crt ./keyturn' \
  "$(cd "$work/files" && find . ! -type d | sort | xargs)"
[ -z "$(find "$work/files" ! -user root -o ! -type d -perm /022 -o -type d -perm /022)" ] || fail 'somebody but root could write in the image'
ok 'nobody but root could write'

# Without privileges, without anything that can be written.
readonly_run() {
  unshare --mount -- bash -c 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" &&
    exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups= "$@"' bash "$work/files" "$@"
}
chmod 755 "$work" "$work/files"
same 'it starts from a read-only root' "keyturn $version" "$(readonly_run /keyturn --version)"

mapfile -t named < <(json "$out/keyturn.cdx.json" '[part["name"] for part in it["components"]]')
mapfile -t direct < <(cargo metadata --no-deps --format-version 1 >"$work/metadata.json" &&
  json "$work/metadata.json" '[each["name"] for each in it["packages"][0]["dependencies"] if each["kind"] is None]')
[ ${#direct[@]} -gt 20 ] || fail "cargo tells of ${#direct[@]} direct dependencies only"
for crate in "${direct[@]}"; do
  [[ " ${named[*]} " == *" $crate "* ]] || fail "the bill of materials lacks $crate"
done
ok "the bill of materials names ${#named[@]} crates, all ${#direct[@]} direct ones among them"
for crate in proptest criterion insta; do
  [[ " ${named[*]} " != *" $crate "* ]] || fail "the bill of materials names $crate, which only tests use"
done
ok 'and none that only tests use'
