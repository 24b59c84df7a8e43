-- For wrk: ten milliseconds between the requests of a connection, and a line at the end.
function delay() return 10 end
function done(summary)
  local errors = summary.errors
  local unanswered = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("requests sent: %d, failed: %d (refused or 5xx: %d, unanswered: %d)\n",
    summary.requests, errors.status + unanswered, errors.status, unanswered))
end
