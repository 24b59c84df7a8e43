# A steady load on $URL, and what has come of it. Sourced by scripts that set `work`, a folder, after tests/walk.sh.
# shellcheck shell=bash
curl --help all | grep -q -e ' --rate ' || { echo 'curl cannot send at a rate: 7.84 or later is needed' >&2; exit 1; }
load=()

# Asks with a key until the load ends, fifty times a second over each connection. FILE gets a line for each request: when it was
# answered and with which status, 000 for none.
ask_steadily() { # ask_steadily FILE KEY CONNECTIONS
  local connection
  for ((connection = 0; connection < $3; connection++)); do
    curl -s --rate 50/s --max-time 10 -o /dev/null -w '%{stderr}%{http_code}\n' -H "Authorization: Bearer $2" "$URL?[1-9999999]" \
      2> >(while read -r answer; do printf '%s %s\n' "$EPOCHREALTIME" "$answer"; done >>"$1") &
    load+=("$!")
  done
}
load_begins() { # load_begins KEY [KEY-TO-BE-REFUSED]
  rm -f "$work/accepted" "$work/refused"
  ask_steadily "$work/accepted" "$1" 4
  [ -z "${2:-}" ] || ask_steadily "$work/refused" "$2" 2
  eventually 'the first answer' test -s "$work/accepted"
}
load_stops() {
  local pid
  for pid in "${load[@]}"; do kill "$pid" 2>/dev/null || fail 'the load generator has ended by itself'; done
  wait "${load[@]}" 2>/dev/null || true
  load=()
}
answered() { wc -l <"$work/accepted"; }
# Waits for a thousand requests from now.
load_goes_on() {
  local until=$(($(answered) + 1000))
  until_then() { [ "$(answered)" -ge "$until" ]; }
  eventually 'a thousand more requests' until_then
}
# No request that should be refused has been let in, and at most MOST of the others have failed, a thousand requests from now included.
# Adds a row to $work/table.
load_ends() { # load_ends WHAT MOST
  local sent failed longest wrong=0 refused=0
  load_goes_on
  load_stops
  # Answers of several connections: in the order of their lines but for some milliseconds.
  read -r sent failed longest < <(awk '
    $2 != 200 { failed++; next }
    $1 - last > longest && last { longest = $1 - last }
    { last = $1 }
    END { printf "%d %d %.1f\n", NR, failed, longest }' "$work/accepted")
  if [ -e "$work/refused" ]; then
    refused=$(wc -l <"$work/refused")
    wrong=$(grep -c ' 2..$' "$work/refused" || true)
    [ "$refused" -gt 0 ] || fail 'nothing was sent that is to be refused'
  fi
  [ "$sent" -gt "$failed" ] || fail 'nothing was let in'
  printf '%s | %d | %d | %d | %s\n' "$1" $((sent + refused)) "$wrong" "$failed" "$longest" | tee -a "$work/table"
  [ "$failed" -eq 0 ] || tell "answers by status: $(awk '{ print $2 }' "$work/accepted" | sort | uniq -c | awk '{ printf "%s %s times, ", $2, $1 }')"
  [ "$wrong" -eq 0 ] || fail "during $1 requests were let in that should be refused: $wrong"
  [ "$failed" -le "$2" ] || fail "during $1 more than $2 requests have failed: $failed"
  ok "during $1 no wrong answer, and $failed of $sent requests have failed"
}
