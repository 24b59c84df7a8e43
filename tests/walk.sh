# How a walk-through shows its steps: the command as one would type it, what comes back, and a clear line when that is not what it
# should be. Sourced by tests/demo.sh and tests/e2e.sh, which set `out`, a file for what the last command has printed.
# shellcheck shell=bash
bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || { bold='' dim='' red='' green='' plain=''; }

title() { printf '\n%s== %s ==%s\n' "$bold" "$*" "$plain"; }
tell() { printf '%s# %s%s\n' "$dim" "$*" "$plain"; }
fail() {
  printf '\n%sthis has failed: %s%s\n' "$red" "$*" "$plain" >&2
  evidence >&2
  exit 1
}
# Shows a command line, runs it in this shell and keeps what it prints.
run() {
  printf '%s$ %s%s\n' "$bold" "$1" "$plain"
  status=0
  eval "$1" >"$out" 2>&1 || status=$?
  cat "$out"
  # A body may end without a line break.
  [ -z "$(tail -c 1 "$out")" ] || echo
}
ok() { printf '%s  ok: %s%s\n' "$green" "$*" "$plain"; }
expect() { # expect TEXT WHAT: the last command has printed TEXT
  grep -qF -- "$1" "$out" || fail "$2: expected '$1' in the output of the last command"
  ok "$2"
}
expect_refused() { # expect_refused TEXT WHAT
  [ "$status" -ne 0 ] || fail "$2: the last command should have been refused"
  expect "$1" "$2"
}
eventually() { # eventually WHAT COMMAND...
  local what=$1 deadline=$((SECONDS + 60))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || fail "$what did not come about within 60 s"
    sleep 0.1
  done
}
# The string of a key.
secret() { kubectl get secret "$1" -o jsonpath='{.data.api-key}' | base64 -d; }
