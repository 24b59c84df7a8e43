#!/usr/bin/env bash
# Builds the image of the Dockerfile without a container engine, as root, and says what is in it.
#
#   image/build.sh [FOLDER]        default: image in $CARGO_TARGET_DIR or target
#
# In FOLDER are afterwards
#   keyturn.tar        the image localhost/keyturn:VERSION, for `docker load` or `ctr images import`
#   keyturn.id         its id
#   keyturn.cdx.json   its bill of materials: every crate that is compiled into it, as CycloneDX
#
# The builder stage happens on this machine, with the compiler of rust-toolchain.toml and the caches that are there; all other
# lines of the Dockerfile are carried out by buildah. The same sources give the same id.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
out=${1:-$target/image}
die() { echo "image: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "run it as root; or build with docker build . or podman build ."
bin=$(tests/tools/install.sh buildah cargo-cyclonedx)
export PATH="$bin:$PATH"

mkdir -p "$out"
work=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
image/rootfs.sh "$work/builder/rootfs"
version=$("$work/builder/rootfs/keyturn" --version)
version=${version#keyturn }
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

name=localhost/keyturn:$version
image/archive.sh "$out/keyturn.tar" "$name" . --build-context "builder=$work/builder" \
  --build-arg "VERSION=$version" --build-arg "REVISION=$revision" >"$out/keyturn.id"

# Crates that only tests or the build itself use are not in the image. The tool writes beside Cargo.toml and nowhere else.
SOURCE_DATE_EPOCH=0 cargo cyclonedx --quiet --format json --no-build-deps \
  --target "$(rustc --print host-tuple)" --override-filename keyturn.cdx
mv keyturn.cdx.json "$out/"
echo "image: $name, $(($(stat -c %s "$out/keyturn.tar") / 1048576)) MiB, id $(<"$out/keyturn.id")" >&2
