#!/usr/bin/env bash
# Compiles keyturn and lays out all that its image holds.
#
#   image/rootfs.sh FOLDER
#
# The Dockerfile does this in its builder stage, image/build.sh on the machine itself. KEYTURN_PROFILE=dev is for trying things
# out: it compiles in a fraction of the time what runs at a fraction of the speed.
set -euo pipefail
cd "$(dirname "$0")/.."

# The C library goes into the program: there is no other in the image. Its resolver has the lookups in files and by DNS built in.
target=$(rustc --print host-tuple)
profile=${KEYTURN_PROFILE:-release}
RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile "$profile" --locked --bin keyturn --target "$target"

rm -rf "$1"
mkdir -p "$1/etc/ssl/certs"
strip --strip-debug -o "$1/keyturn" "${CARGO_TARGET_DIR:-target}/$target/${profile/#dev/debug}/keyturn"
# For calls to servers whose certificates are from public authorities, such as a store of rate limits.
cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
echo 'keyturn:x:65532:65532:keyturn:/:/sbin/nologin' >"$1/etc/passwd"
echo 'keyturn:x:65532:' >"$1/etc/group"
# Whatever the umask: everybody may read it, and nobody but root could write it.
chmod -R u=rwX,go=rX "$1"
