#!/usr/bin/env bash
# Fuzzes whatever reads bytes that a stranger wrote, target by target, until the time is over or one finds something.
#
#   tests/fuzz.sh [TARGET ...]     all of tests/fuzz/targets, or only those named
#
# FUZZ_SECONDS (600) is the time for each. What was interesting stays in $KEYTURN_CACHE/fuzz and is where the
# next run goes on; a finding ends the run, and its input is printed with the command that repeats it.
set -euo pipefail

case ${1:-} in
  -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${KEYTURN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/keyturn}
seconds=${FUZZ_SECONDS:-600}
bin=$("$root/tests/tools/install.sh" cargo-fuzz)
export PATH="$bin:$PATH" CARGO_TARGET_DIR="$cache/target/fuzz"

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd "$root" && cargo fuzz list --fuzz-dir tests/fuzz)

# Without a sanitizer, for unsafe code is forbidden here and sanitizers need a nightly compiler.
fuzz() { # fuzz COMMAND TARGET [ARGUMENT ...]
  (cd "$root" && cargo fuzz "$1" --fuzz-dir tests/fuzz --sanitizer none "${@:2}")
}

for target in "${targets[@]}"; do
  printf 'fuzz: %s, %s s\n' "$target" "$seconds"
  mkdir -p "$cache/fuzz/$target"
  # A status line every ten seconds or so, and the longest input of a header line.
  fuzz run "$target" "$cache/fuzz/$target" -- -max_total_time="$seconds" -max_len=4096 -timeout=5 -print_final_stats=1
done
printf 'fuzz: nothing found\n'
