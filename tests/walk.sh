# How a walk-through shows its steps: the command as one would type it, what comes back, and a clear line when that is not what it
# should be. Sourced by scripts that set `URL`, where keys are needed, and define `evidence`, which prints what a failure is seen from.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Prints what the script says about itself, and these words, for one that was called wrongly.
explain() { # explain WORD...
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0" >&2
  [ $# -eq 0 ] || echo "$*" >&2
  exit 2
}
# From here on there is a folder `work`, and in it a file `out` for what the last command has printed. They end with the script,
# whatever its cause, and so does what runs in its background.
begin_walk() { # begin_walk NAME
  work=$(mktemp -d "${TMPDIR:-/tmp}/keyturn-$1.XXXXXX")
  out=$work/output
  trap down EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}
down() {
  local status=$?
  trap '' INT TERM
  # shellcheck disable=SC2046 # numbers
  kill $(jobs -p) 2>/dev/null || true
  wait 2>/dev/null || true
  clean_up
  rm -rf "$work"
  exit "$status"
}
# Takes away what else the script has made.
clean_up() { :; }

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

answers() { # answers STATUS KEY
  [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 35 -H "Authorization: Bearer $2" "$URL")" = "$1" ]
}
# Asks with each of these keys, and prints the statuses.
ask_with() { # ask_with VARIABLE...
  local keys
  printf -v keys '"$%s" ' "$@"
  run "for key in ${keys% }; do curl -s -o /dev/null -w \"%{http_code} \" -H \"Authorization: Bearer \$key\" \"\$URL\"; done; echo"
}

# A rotation of the key busy, whose string is in OLD. The new one is in NEW when it has begun.
request_rotation() { # request_rotation ID GRACE
  run "kubectl patch apikey busy --type=merge -p '{\"spec\":{\"rotation\":{\"request\":{\"id\":\"$1\",\"gracePeriod\":\"$2\"}}}}'"
  [ "$status" -eq 0 ] || fail 'the rotation should be accepted'
}
rotation_begins() {
  eventually 'a new string in the Secret' changed
  NEW=$(secret busy)
  ask_with OLD NEW
  expect '200 200' 'the old and the new string are both accepted'
}
changed() { [ "$(secret busy)" != "$OLD" ]; }
rotation_ends() { # rotation_ends GRACE
  tell "until the grace period of $1 is over ..."
  eventually 'the end of the grace period' answers 403 "$OLD"
  ask_with OLD NEW
  expect '403 200' 'after it only the new one is'
}

# What the proxy refuses, with the key whose string is in KEY and without.
refusals() {
  run 'curl -si "$URL"'
  expect '401' 'no key: 401'
  expect 'UNAUTHORIZED' 'with a problem document'
  run 'curl -si -X POST -H "Authorization: Bearer $KEY" "$URL"'
  expect '403' 'a route whose scope it lacks: 403'
  expect 'INSUFFICIENT_SCOPE' 'and the reason'
}
# The key leaked, whose string is in LEAKED afterwards.
revocation() {
  LEAKED=$(secret leaked)
  ask_with LEAKED
  expect '200' 'the leaked key works'
  run "kubectl patch apikey leaked --type=merge -p '{\"spec\":{\"revoked\":true,\"revocationReason\":\"leaked in a build log\"}}'"
  eventually 'a refusal' answers 401 "$LEAKED"
  run 'curl -si -H "Authorization: Bearer $LEAKED" "$URL"'
  expect 'REVOKED' 'refused'
}
