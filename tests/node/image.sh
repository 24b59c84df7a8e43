#!/usr/bin/env bash
# Makes an image of a program, with the libraries that it needs.
#
#   tests/node/image.sh FILE.tar NAME:TAG TOOL [LIBRARY]
#
# TOOL is one of the pinned tools, or the path of another program. LIBRARY, a pinned one, is loaded before the program's own.
set -euo pipefail

out=$1 name=$2 tool=${3##*/} library=${4:-}
root=$(cd "$(dirname "$0")/../.." && pwd)
pinned=(buildah ${library:+"$library"})
[ "$tool" != "$3" ] || pinned+=("$tool")
bin=$("$root/tests/tools/install.sh" "${pinned[@]}")
export PATH="$bin:$PATH"
work=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-tool.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/lib" "$work/root/tmp"
chmod 1777 "$work/root/tmp"
# What is in bin may be a script that brings libraries of its own.
program=$bin/../libexec/$tool
[ -e "$program" ] || program=$bin/$tool
[ "$tool" = "$3" ] || program=$3
cp -L "$program" "$work/root/$tool"
for needed in $(LD_LIBRARY_PATH=$bin/../lib ldd "$program" ${library:+"$bin/$library"} 2>/dev/null | grep -o '[[:space:]]/[^ ]*'); do
  case $needed in
    */ld-linux*) mkdir -p "$work/root${needed%/*}" && cp -L "$needed" "$work/root$needed" ;;
    *) cp -L "$needed" "$work/root/lib/" ;;
  esac
done
printf 'FROM scratch\nCOPY root/ /\nENV PATH=/\nENTRYPOINT ["/%s"]\n' "$tool" >"$work/Dockerfile"
[ -z "$library" ] || { cp -L "$bin/$library" "$work/root/lib/" && echo "ENV LD_PRELOAD=/lib/$library" >>"$work/Dockerfile"; }
"$root/image/archive.sh" "$out" "$name" "$work" >/dev/null
