#!/usr/bin/env bash
# Makes an image of one of the pinned tools, with the libraries that it needs.
#
#   tests/node/image.sh FILE.tar NAME:TAG TOOL
set -euo pipefail

out=$1 name=$2 tool=$3
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$("$root/tests/tools/install.sh" buildah "$tool")
export PATH="$bin:$PATH"
work=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-tool.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/lib" "$work/root/tmp"
chmod 1777 "$work/root/tmp"
# What is in bin may be a script that brings libraries of its own.
program=$bin/../libexec/$tool
[ -e "$program" ] || program=$bin/$tool
cp -L "$program" "$work/root/$tool"
for library in $(LD_LIBRARY_PATH=$bin/../lib ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
  case $library in
    */ld-linux*) mkdir -p "$work/root${library%/*}" && cp -L "$library" "$work/root$library" ;;
    *) cp -L "$library" "$work/root/lib/" ;;
  esac
done
printf 'FROM scratch\nCOPY root/ /\nENTRYPOINT ["/%s"]\n' "$tool" >"$work/Dockerfile"
"$root/image/archive.sh" "$out" "$name" "$work" >/dev/null
